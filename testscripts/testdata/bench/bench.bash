# shellcheck shell=bash disable=SC2016,SC2164 # code to measure stands in single quotes; the directories are there
# Sourced by BenchmarkHook. What a shell does around one command line, done in a
# loop: PS0 before it, PROMPT_COMMAND after it.
before() { : "${PS0@P}"; }
after() { local each; for each in "${PROMPT_COMMAND[@]}"; do eval "$each"; done; }

# measure NAME COUNT CODE: microseconds for one run of CODE
measure() {
    eval "loop() { local i; for ((i = 0; i < $2; i++)); do $3; done; }"
    local begin=${EPOCHREALTIME/[.,]/}
    loop
    echo "$1 $(((${EPOCHREALTIME/[.,]/} - begin) * 1000 / $2))" >>"$BENCH_OUT"
}

round() {
    cd "$BENCH_O"
    before; after
    measure nothing 20000 ':'
    measure bare 40 '"$BENCH_BARE"'
    measure outside 2000 'before; after'
    measure cd 40 'before; cd "$BENCH_W"; cd "$BENCH_O"; after'
    cd "$BENCH_W"
    after
    measure inside 40 'before; after'
    measure bare 40 '"$BENCH_BARE"'
    measure empty 500 'after'
    cd "$BENCH_O"
    after
    measure hook 20 'keyrack hook bash >/dev/null'
    cd "$BENCH_E"
    measure direnv-load 15 'eval "$(direnv export bash 2>/dev/null)"; unset "${!DIRENV_@}" "${!SECRET_@}"'
    eval "$(direnv export bash 2>/dev/null)"
    measure direnv 30 'eval "$(direnv export bash 2>/dev/null)"'
    unset "${!DIRENV_@}" "${!SECRET_@}"
    cd "$BENCH_O"
    measure direnv-outside 30 'eval "$(direnv export bash 2>/dev/null)"'
}
