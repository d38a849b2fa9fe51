# Sourced by BenchmarkHook. What a shell does around one command line, done in a
# loop: preexec before it, precmd after it.
zmodload zsh/datetime
before() { local each; for each in $preexec_functions; do $each true true true; done }
after() { local each; for each in $precmd_functions; do $each; done }

# measure NAME COUNT CODE: nanoseconds for one run of CODE
measure() {
    eval "loop() { local i; for ((i = 0; i < $2; i++)); do $3; done }"
    local -F begin=$EPOCHREALTIME
    loop
    printf '%s %.0f\n' $1 $(( (EPOCHREALTIME - begin) * 1e9 / $2 )) >>$BENCH_OUT
}

__keyrack_bench_round() {
    cd $BENCH_O
    before; after
    measure nothing 20000 ':'
    measure bare 40 '$BENCH_BARE'
    measure captured 40 ': "$($BENCH_BARE)"'
    () { # the loop itself, without the hook
        local -a preexec_functions=("${(@)preexec_functions:#__keyrack_*}") precmd_functions=("${(@)precmd_functions:#__keyrack_*}")
        measure plain 2000 'before; after'
        measure plain-prompt 2000 'after'
    }
    measure outside 2000 'before; after'
    measure prompt 2000 'after'
    measure cd 200 'before; cd $BENCH_W; cd $BENCH_O; after'
    cd $BENCH_W
    after
    measure inside 200 'before; after'
    measure bare 40 '$BENCH_BARE'
    measure empty 500 'after'
    cd $BENCH_O
    after
    measure hook 20 'keyrack hook zsh >/dev/null'
    cd $BENCH_E
    measure direnv-load 15 'eval "$(direnv export zsh 2>/dev/null)"; unset -m "DIRENV_*" "SECRET_*"'
    eval "$(direnv export zsh 2>/dev/null)"
    measure direnv 30 'eval "$(direnv export zsh 2>/dev/null)"'
    unset -m 'DIRENV_*' 'SECRET_*'
    cd $BENCH_O
    measure direnv-outside 30 'eval "$(direnv export zsh 2>/dev/null)"'
}
