# keyrack's hook for fish 3 and 4: the secrets of a worksite are exported while a
# command line runs inside it, and at no other time.
#
# Assignments of __keyrack_bin, __keyrack_socket and __keyrack_generation_file
# stand before this file. fish runs the handlers of an event with $status and
# $pipestatus kept. What people should read goes to standard error. Names that a
# person's function may take are preceded by "builtin"; fish reserves set, test,
# string, read, status and the like. "set -l" stands at the top of functions
# alone, because in a block it would end with the block.

if status is-interactive

builtin functions -q __keyrack_off
and __keyrack_off again

# --- Moments --------------------------------------------------------------

# At the prompt: outside, and with nothing to do, this looks upward and no more.
function __keyrack_prompt --on-event fish_prompt
    test "$__keyrack_line$__keyrack_held$__keyrack_root$PWD" = "0$__keyrack_pwd" $__keyrack_still
    or __keyrack_at_prompt
end

# After a command line.
function __keyrack_postexec --on-event fish_postexec
    set -g __keyrack_line 0
    test -z "$__keyrack_held"
    or __keyrack_line_ends
end

# After cd, also in functions, pipelines and substitutions, which fish runs in
# this process. Where no command line runs (a key's binding, a completion)
# nothing is asked.
function __keyrack_moved --on-variable PWD
    set -l was $__keyrack_root
    set -l failed $__keyrack_failed
    __keyrack_find
    if test -n "$__keyrack_root" -a "$__keyrack_line" = 1
        if test "$__keyrack_root" != "$was"; or test "$failed" = 1
            __keyrack_ask
        end
    end
end

# Before a command line. Handlers run in the order in which they came: inside,
# this one comes anew at each prompt, so that no other's programs see the secrets.
function __keyrack_listen
    function __keyrack_preexec --on-event fish_preexec
        set -g __keyrack_line 1
        test -n "$__keyrack_root"
        and string match -qr '\S' -- "$argv" # an empty one asks nothing
        and __keyrack_wanted
        and __keyrack_ask
    end
end

# The daemon sends SIGURG to a shell that holds values at its prompt (tree mode)
# when they end. At the prompt they go, and the next command line asks.
function __keyrack_urg --on-signal URG
    if test "$__keyrack_held" != tree; or __keyrack_unchanged
        return
    else if test "$__keyrack_line" = 1
        __keyrack_ask
    else
        __keyrack_drop
    end
end

function __keyrack_at_prompt
    test "$__keyrack_line$__keyrack_held" = 0
    or __keyrack_line_ends # fish may have told of no end
    test "$PWD" = "$__keyrack_pwd" $__keyrack_still
    or __keyrack_find
    test -n "$__keyrack_root"; or return
    __keyrack_listen
    test "$__keyrack_held" != tree
    or __keyrack_refresh
end

function __keyrack_line_ends
    set -g __keyrack_line 0
    switch "$__keyrack_held"
        case asking
            __keyrack_give_up
        case command
            __keyrack_drop
    end
end

# In tree mode, at the prompt: an edited file takes the values away, and the next
# command line says so; a change at the daemon is asked for here.
function __keyrack_refresh
    if not __keyrack_unedited
        __keyrack_drop
    else if not __keyrack_unchanged
        __keyrack_ask
        test "$__keyrack_held" = tree
        or __keyrack_drop
    end
end

# --- The worksite ---------------------------------------------------------

# Walk upward to the nearest .keyrack.toml. __keyrack_still is the end of a test
# that holds as long as this would find the same. In another worksite, or outside,
# the values of the last one end, and so does what was said and what failed there.
# fish 3.1 alone, which gives named groups to no variables, needs the command
# substitution, which costs more than the rest.
function __keyrack_find
    set -l root
    set -l dir $PWD
    set -l below /
    set -l still
    while test -n "$below"
        if test -e "$dir/.keyrack.toml"
            set -a still -a -e "$dir/.keyrack.toml"
            set root $dir
            test -n "$dir"; or set root /
            break
        end
        set -a still -a ! -e "$dir/.keyrack.toml"
        set below $dir
        string match -qr '(?s)^(?<dir>.*)/' -- $dir
        test "$dir" != "$below" -o -z "$dir"
        or set dir (string replace -r '(?s)/?[^/]*$' '' -- $dir | string collect)
    end
    set -g __keyrack_pwd $PWD
    set -g __keyrack_still $still
    if test "$root" != "$__keyrack_root"
        __keyrack_drop
        test -z "$__keyrack_shadowing"
        or __keyrack_shadow ''
        set -g __keyrack_root $root
        set -g __keyrack_announced 0
        set -g __keyrack_failed 0
        set -g __keyrack_said
    end
end

# Is there anything to ask before this command line? Forks nothing.
function __keyrack_wanted
    test "$__keyrack_failed$__keyrack_held" = 0
    and return
    test "$__keyrack_held" != asking
    or __keyrack_give_up # fish 3.1 tells of no end after Ctrl-C
    if test "$__keyrack_failed" = 1
        __keyrack_read_generation
        test "$__keyrack_reply" != "$__keyrack_generation"
    else if test "$__keyrack_held" = tree
        not __keyrack_unedited
        or not __keyrack_unchanged
    end
end

function __keyrack_read_generation
    set -g __keyrack_reply ''
    test -r "$__keyrack_generation_file"
    and read -g __keyrack_reply <"$__keyrack_generation_file"
end

function __keyrack_unchanged
    __keyrack_read_generation
    test -n "$__keyrack_reply" -a "$__keyrack_reply" = "$__keyrack_generation"
end

function __keyrack_unedited
    __keyrack_read_file
    test "$__keyrack_reply" = "$__keyrack_text"
end

function __keyrack_read_file
    set -g __keyrack_reply ''
    test -f "$__keyrack_root/.keyrack.toml" -a -r "$__keyrack_root/.keyrack.toml"
    and read -gz __keyrack_reply <"$__keyrack_root/.keyrack.toml"
end

# --- Asking ---------------------------------------------------------------

# What was held goes first, also where Ctrl-C ends all this: then __keyrack_held
# stays "asking". __keyrack_names are those of the last answer, and what this one
# is expected to put: none where one of them is a variable by now, which would have
# to be kept. The local fish_trace keeps values out of a trace.
function __keyrack_ask
    set -l fish_trace
    __keyrack_drop
    set -qg $__keyrack_names
    test $status = $__keyrack_free -a $status -lt 255 # set counts no further
    or set -g __keyrack_names
    set -g __keyrack_held asking
    set -g __keyrack_answer
    set -g __keyrack_lines
    set -g __keyrack_named
    if __keyrack_ring
    else if test -x "$__keyrack_bin"
        command $__keyrack_bin __hook fish $__keyrack_root $fish_pid | builtin source 2>/dev/null
    else
        builtin printf 'keyrack: %s is gone, start a new shell once keyrack is installed again\n' $__keyrack_bin >&2
    end
    __keyrack_take $__keyrack_answer
end

# Ask the daemon without a fork. The question is a line of a pipe of this shell's, and
# a file rings: the daemon looks for that line, writes the answer behind it, and removes
# the file, also where it has none to give. fish can't wait for that, and tests ten
# thousand times, some 30 ms at most. "read" takes an empty line: then the question is
# there as well. It is a comment, where a newline of a directory's name would end it.
# Where the daemon does nothing, the client asks the next ten times.
function __keyrack_ring
    set -l fish_trace
    test -S "$__keyrack_socket" -a -d "$__keyrack_asks"
    and string match -qr '^[^\n]+\z' -- "$__keyrack_root"
    or return
    if set -q __keyrack_deaf[1]
        set -e __keyrack_deaf[1]
        return 1
    end
    builtin printf '\n#keyrack 1 fish %s %s\n' $fish_pid $__keyrack_root | begin
        read -l line
        builtin echo -n >>$__keyrack_asks/$fish_pid
        if __keyrack_wait $__keyrack_asks/$fish_pid
            builtin source 2>/dev/null # which would wait for an answer that comes late
        else
            set -g __keyrack_deaf $__keyrack_tries[1..10]
        end
    end
    test -n "$__keyrack_answer"
end

function __keyrack_wait
    for i in $__keyrack_tries
        for j in $__keyrack_tries
            test -e $argv[1]
            or return 0
        end
    end
    return 1
end

# __keyrack_take STATUS GENERATION MODE SUMMARY, or nothing where no answer came or it broke off.
function __keyrack_take
    if test -z "$argv[1]"
        __keyrack_give_up
        return
    end
    test "$__keyrack_named" = "$__keyrack_shadowing"
    or __keyrack_shadow "$__keyrack_named"
    __keyrack_hold $argv
    switch $argv[1]
        case locked unavailable no-rack
            __keyrack_fail $argv[2]
        case '*'
            set -g __keyrack_failed 0
    end
    __keyrack_tell $argv[4]
end

# __keyrack_fail GENERATION: ask no more until it changes, or a cd.
function __keyrack_fail
    set -g __keyrack_failed 1
    set -g __keyrack_generation $argv[1]
    if test -z "$argv[1]"
        __keyrack_read_generation
        set -g __keyrack_generation $__keyrack_reply
    end
end

# No end came: the client was killed, or Ctrl-C.
function __keyrack_give_up
    __keyrack_drop
    __keyrack_fail ''
end

# Mark what came, for shells started from here, and how long it stays.
function __keyrack_hold
    set -qg $__keyrack_names
    or set -g __keyrack_names (for name in $__keyrack_names; set -qg $name; and builtin echo $name; end)
    if not set -q __keyrack_names[1]
        set -g __keyrack_held ''
        return
    end
    set -gx KEYRACK_EXPORTED "1 $__keyrack_names"
    set -g __keyrack_generation $argv[2]
    set -g __keyrack_held command
    if test "$argv[3]" = tree
        set -g __keyrack_held tree
        __keyrack_read_file
        set -g __keyrack_text $__keyrack_reply
    end
end

# Lines for people are said once, the summary once for each time of entering.
function __keyrack_tell
    if test "$__keyrack_lines" != "$__keyrack_said"
        set -g __keyrack_said $__keyrack_lines
        set -q __keyrack_lines[1]
        and builtin printf '%s\n' $__keyrack_lines >&2
    end
    if test -n "$argv[1]"; and test "$__keyrack_announced" = 0
        set -g __keyrack_announced 1
        builtin printf 'keyrack: %s\n' $argv[1] >&2
    end
end

# The four functions that an answer calls, inside __keyrack_ask.

# A command that mends what the line before it says stands alone, to be pasted.
function __keyrack_say
    if string match -q 'keyrack *' -- $argv[1]
        set -ga __keyrack_lines $argv[1]
    else
        set -ga __keyrack_lines "keyrack: $argv[1]"
    end
end

function __keyrack_commands
    set -g __keyrack_named $argv
end

function __keyrack_end
    set -g __keyrack_answer $argv
end

# A value is one element, also where the name ends in PATH. A "set" that succeeds
# leaves $status as it was, which is 0 here.
function __keyrack_put
    builtin contains -- "$argv[1]" $__keyrack_names
    or __keyrack_admit $argv[1]
    or return
    set -gx --unpath $argv[1] "$argv[2]"
    or __keyrack_leave_alone $argv[1]
end

function __keyrack_admit
    __keyrack_may_be $argv[1]
    or return
    if set -qg $argv[1]
        __keyrack_keep $argv[1]
    end
    set -ga __keyrack_names $argv[1]
end

function __keyrack_leave_alone
    __keyrack_say "$argv[1] can't be set in this shell and is left alone"
    set -eg __keyrack_names[(builtin contains -i -- $argv[1] $__keyrack_names)]
    set -eg __keyrack_was_$argv[1]_
    set -eg __keyrack_flags_$argv[1]_
end

# Names that a variable may have.
function __keyrack_may_be
    if not string match -qr '^[A-Za-z_][A-Za-z0-9_]*\z' -- "$argv[1]"
        or string match -qr '^(?:LD_|DYLD_|KEYRACK_|__keyrack|BASH|ZSH_|fish_|__fish|XDG_|COMP_|GIT_CONFIG)' -- $argv[1]
        or builtin contains -- $argv[1] $__keyrack_refused
        __keyrack_say "a name that may not be exported is left out"
        return 1
    end
end

# --- Commands that have secrets of their own ----------------------------------

# __keyrack_shadow NAMES: functions in the place of commands, in that of the last
# ones. By them a command gets the secrets that are for it, which never enter this
# shell: "keyrack exec" sees all of its words. Those that start another command are
# among them. What is a function of the person's stays one.
function __keyrack_shadow
    set -l wrappers
    for name in $__keyrack_shadows
        builtin functions $name | string match -q '*__keyrack_exec*'
        and builtin functions -e $name
    end
    set -g __keyrack_shadows
    set -g __keyrack_shadowing $argv[1]
    test -z "$argv[1]"
    or set wrappers doas env ionice nice nohup setsid stdbuf sudo timeout xargs
    for name in (string split ' ' -- $argv[1]) $wrappers
        if not string match -qr '^[A-Za-z0-9_][A-Za-z0-9._+-]*\z' -- $name
            continue
        else if builtin functions -q $name
            __keyrack_say "$name is a function here, which gets no secret that is for it: keyrack exec -- $name"
        else if not builtin contains -- $name (builtin -n)
            function $name --inherit-variable name
                __keyrack_exec $name $argv
            end
            set -ga __keyrack_shadows $name
        end
    end
end

# At the prompt, for what shows it or completes, a command is only itself.
function __keyrack_exec
    set -l program (string replace -r '[^/]*$' keyrack -- $__keyrack_bin)
    if test "$__keyrack_line" = 1 -a -x "$program"
        command $program exec --from-hook -- $argv
    else
        command $argv
    end
end

# --- What was there before ------------------------------------------------

# __keyrack_keep NAME: remember the global variable. An exported local of a
# function that still runs is copied here, and would hide it.
function __keyrack_keep
    set -l flags -u --unpath
    set -el $argv[1]
    set -qgx $argv[1]
    and set flags[1] -x
    set -qg --path $argv[1]
    and not set -qg --unpath $argv[1] # fish 3.1 says both of all
    and set flags[2] --path
    set -g __keyrack_flags_$argv[1]_ $flags
    set -g __keyrack_was_$argv[1]_ $$argv[1]
    set -ga __keyrack_kept $argv[1]
    return 0
end

# __keyrack_free is how many of the names are no variables then.
function __keyrack_drop
    test -n "$__keyrack_held"; or return
    for name in $__keyrack_names KEYRACK_EXPORTED
        set -eg $name
    end
    set -g __keyrack_held ''
    set -qg $__keyrack_names
    set -g __keyrack_free $status
    set -q __keyrack_kept[1]; or return
    for name in $__keyrack_kept
        __keyrack_restore $name __keyrack_was_{$name}_ __keyrack_flags_{$name}_
    end
    set -g __keyrack_kept
end

# __keyrack_restore NAME WAS FLAGS
function __keyrack_restore
    set -l fish_trace
    set -q $argv[3]; or return
    set -g $$argv[3] $argv[1] $$argv[2]
    set -eg $argv[2]
    set -eg $argv[3]
end

# --- On and off -----------------------------------------------------------

# __keyrack_off again: the prelude stays, for the script that is being read.
function __keyrack_off
    set -l fish_trace
    set -l keep
    test "$argv[1]" = again
    and set keep __keyrack_bin __keyrack_socket __keyrack_generation_file
    __keyrack_drop
    __keyrack_shadow ''
    for name in (set -gn)
        if string match -q '__keyrack_*' -- $name; and not builtin contains -- $name $keep
            set -eg $name
        end
    end
    for name in (builtin functions -an)
        string match -q '__keyrack_*' -- $name
        and builtin functions -e $name
    end
end

# Secrets that the shell was started with belong to the line that started it.
function __keyrack_forget_inherited
    for name in (string split ' ' -- "$KEYRACK_EXPORTED")[2..-1]
        __keyrack_may_be $name
        and set -eg $name
    end
    set -eg KEYRACK_EXPORTED
end

function __keyrack_start
    set -g __keyrack_refused _ PATH HOME IFS SHELL ENV PWD OLDPWD CDPATH PROMPT_COMMAND PROMPT RPROMPT PS0 PS1 PS2 PS3 PS4 \
        SHELLOPTS FPATH ZDOTDIR FIGNORE GLOBIGNORE HISTFILE HISTCMD INPUTRC TMOUT OPTARG OPTIND REPLY FUNCNEST UID EUID \
        PPID path fpath cdpath prompt status argv pipestatus version GCONV_PATH LOCPATH NLSPATH HOSTALIASES \
        RESOLV_HOST_CONF GETCONF_DIR MALLOC_TRACE TMPDIR NODE_OPTIONS NODE_PATH PYTHONSTARTUP PYTHONPATH PYTHONHOME \
        PERL5LIB PERL5OPT PERL5DB RUBYLIB RUBYOPT JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS GIT_SSH \
        GIT_SSH_COMMAND GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_ASKPASS GIT_PAGER GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PROXY_COMMAND SSH_ASKPASS SUDO_ASKPASS LESSOPEN LESSCLOSE MANPAGER EDITOR VISUAL PAGER BROWSER umask dirprev dirnext
    set -g __keyrack_asks (string replace -r 'sock\z' asks -- $__keyrack_socket)
    test -O (string replace -r '/[^/]*\z' '' -- $__keyrack_asks)
    or set -g __keyrack_asks
    if set -q KEYRACK_SANDBOX # where fish would say each time that it may not open them
        set -g __keyrack_asks
        set -g __keyrack_generation_file
    end
    set -g __keyrack_tries
    for i in 1 2 3 4 5 6 7 8 9 10
        set -a __keyrack_tries 1 2 3 4 5 6 7 8 9 10
    end
    for name in deaf root pwd still text generation said names kept lines answer reply held named shadowing shadows
        set -gu __keyrack_$name
    end
    for name in line failed announced free
        set -gu __keyrack_$name 0
    end
    set -q KEYRACK_EXPORTED
    and __keyrack_forget_inherited
    __keyrack_listen
end

__keyrack_start

else
    set -eg __keyrack_bin
    set -eg __keyrack_socket
    set -eg __keyrack_generation_file
end
