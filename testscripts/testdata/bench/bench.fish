# Sourced by BenchmarkHook. What a shell does around one command line, done in a
# loop: fish_preexec before it, fish_postexec and fish_prompt after it. fish has
# no clock of its own: the two runs of date are in loops long enough not to matter.
function before
    emit fish_preexec true
end
function after
    emit fish_postexec true
    emit fish_prompt
end
function forget
    for name in (set -n | string match -r '^(?:DIRENV|SECRET)_.*')
        set -e $name
    end
end

# measure NAME COUNT CODE: nanoseconds for one run of CODE
function measure
    eval "function loop; for i in \$argv; $argv[3]; end; end"
    set -l turns (seq $argv[2])
    set -l begin (date +%s%N)
    loop $turns
    set -l finish (date +%s%N)
    echo $argv[1] (math -s0 "($finish - $begin) / $argv[2]") >>$BENCH_OUT
end

# The same events without keyrack: what fish's own handlers, those of the rc file
# and the loop cost. Afterwards a line inside must have its secrets again.
function measure_plain
    set -l handlers __keyrack_preexec __keyrack_postexec __keyrack_prompt
    set -l text (for name in $handlers; functions $name; end | string collect)
    functions -e $handlers
    measure plain 2000 'before; after'
    measure plain-prompt 2000 after
    echo $text | source
    cd $BENCH_W
    after
    before
    set -q SECRET_9
    or echo "keyrack's handlers did not come back" >>$BENCH_OUT
    after
    cd $BENCH_O
    after
end

function __keyrack_bench_round
    cd $BENCH_O
    before
    after
    measure nothing 2000 true
    measure bare 40 '$BENCH_BARE'
    measure captured 40 '$BENCH_BARE | source'
    measure_plain
    measure outside 2000 'before; after'
    measure prompt 2000 after
    measure cd 40 'before; cd $BENCH_W; cd $BENCH_O; after'
    cd $BENCH_W
    after
    measure inside 40 'before; after'
    measure bare 40 '$BENCH_BARE'
    measure empty 500 after
    cd $BENCH_O
    after
    measure hook 20 'keyrack hook fish >/dev/null'
    cd $BENCH_E
    measure direnv-load 15 'direnv export fish 2>/dev/null | source; forget'
    direnv export fish 2>/dev/null | source
    measure direnv 30 'direnv export fish 2>/dev/null | source'
    forget
    cd $BENCH_O
    measure direnv-outside 30 'direnv export fish 2>/dev/null | source'
end
