# shellcheck shell=bash disable=SC2016,SC2164 # code to measure stands in single quotes; the directories are there
# Sourced by BenchmarkHook. What a shell does around one command line, done in a
# loop: PS0 before it, PROMPT_COMMAND after it. The functions bear names like the
# hook's own, so that a cd in them counts as one that was typed.
__keyrack_bench_before() { : "${PS0@P}"; }
__keyrack_bench_after() { local each; for each in "${PROMPT_COMMAND[@]}"; do eval "$each"; done; }

# __keyrack_bench NAME COUNT CODE: nanoseconds for one run of CODE, in which
# BEFORE and AFTER stand for the two functions
__keyrack_bench() {
    local begin code=${3//BEFORE/__keyrack_bench_before}
    eval "__keyrack_bench_loop() { local i; for ((i = 0; i < $2; i++)); do ${code//AFTER/__keyrack_bench_after}; done; }"
    begin=${EPOCHREALTIME/[.,]/}
    __keyrack_bench_loop
    echo "$1 $(((${EPOCHREALTIME/[.,]/} - begin) * 1000 / $2))" >>"$BENCH_OUT"
}

# the loop without the hook: what it takes for itself
__keyrack_bench_plain() {
    local PS0='' PROMPT_COMMAND=''
    __keyrack_bench plain 2000 'BEFORE; AFTER'
    __keyrack_bench plain-prompt 2000 'AFTER'
}

__keyrack_bench_round() {
    cd "$BENCH_O"
    __keyrack_bench_before
    __keyrack_bench_after
    __keyrack_bench_plain
    __keyrack_bench bare 40 '"$BENCH_BARE"'
    __keyrack_bench captured 40 ': "$("$BENCH_BARE")"'
    __keyrack_bench outside 2000 'BEFORE; AFTER'
    __keyrack_bench prompt 2000 'AFTER'
    __keyrack_bench cd 40 'BEFORE; cd "$BENCH_W"; cd "$BENCH_O"; AFTER'
    cd "$BENCH_W"
    __keyrack_bench_after
    __keyrack_bench inside 40 'BEFORE; AFTER'
    __keyrack_bench bare 40 '"$BENCH_BARE"'
    __keyrack_bench empty 500 'AFTER'
    cd "$BENCH_O"
    __keyrack_bench_after
    __keyrack_bench hook 20 'keyrack hook bash >/dev/null'
    cd "$BENCH_E"
    __keyrack_bench direnv-load 15 'eval "$(direnv export bash 2>/dev/null)"; unset "${!DIRENV_@}" "${!SECRET_@}"'
    eval "$(direnv export bash 2>/dev/null)"
    __keyrack_bench direnv 30 'eval "$(direnv export bash 2>/dev/null)"'
    unset "${!DIRENV_@}" "${!SECRET_@}"
    cd "$BENCH_O"
    __keyrack_bench direnv-outside 30 'eval "$(direnv export bash 2>/dev/null)"'
}
