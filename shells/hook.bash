# shellcheck shell=bash
# Single quotes hold code, a plain array is its first element, and a local's whole assignment is quoted:
# shellcheck disable=SC2016,SC2128,SC2154,SC2178,SC2317
# keyrack's hook for bash, 3.2 to 5.3: the secrets of a worksite are exported
# while a command line runs inside it, and at no other time.
#
# Assignments of __keyrack_bin, __keyrack_socket and __keyrack_generation_file
# (and __keyrack_before, to force a mechanism) stand before this file. What the
# shell can do is found out by trying. An entry point neutralises the person's
# options first, writes to file descriptor 9 what people should read, and sends
# standard error to /dev/null, which is also where tracing (set -x) goes; all
# else in this file runs below an entry point. Words are kept from aliases by
# switching aliases off while this is read, from functions by "builtin". Local
# variables that stand while secrets come and go are __keyrack__…, as no secret is.

\builtin shopt -q expand_aliases && __keyrack_aliases=on
\builtin shopt -u expand_aliases
if [[ $- == *i* ]]; then

builtin declare -F __keyrack_off >/dev/null && __keyrack_off again

# --- Entry points ---------------------------------------------------------

# __keyrack_calm FUNCTION ARG...: run it untouched by set -u, -e, -x, …
__keyrack_calm() {
    builtin local "__keyrack__options=$-" __keyrack__rc=0
    __keyrack__options=${__keyrack__options//[isc]/}
    builtin set +aeEfTuvxk
    "$@" || __keyrack__rc=$?
    builtin set "-$__keyrack__options"
    builtin return "$__keyrack__rc"
}

# The same from bash 4.4 on, where the options come back even after Ctrl-C.
__keyrack_calm_local() {
    builtin local - || builtin return
    __keyrack_calm() {
        builtin local -
        builtin set +aeEfTuvxk
        "$@"
    }
}

# Ends the prompt commands where the DEBUG trap has to be set. What came after us
# may have replaced the first one.
__keyrack_last_prompt() {
    ((__keyrack_prompted)) || __keyrack_prompt 0
    __keyrack_prompted=0
}

# The same for bash-preexec and ble.sh, which keep the status themselves.
__keyrack_precmd() {
    { __keyrack_calm __keyrack_at_prompt; } 9>&2 2>/dev/null
    builtin return 0
}

# Just before a command line, from bash-preexec or ble.sh.
__keyrack_preexec() {
    { __keyrack_calm __keyrack_before; } 9>&2 2>/dev/null
    builtin return 0
}

# __keyrack_debug STATUS LAST: from the DEBUG trap, before the first command of a
# line, or of the prompt, where the line was empty. Not from a handler: there
# BASH_COMMAND is the last command before the signal, at the prompt the one that
# set the trap. The trap stays only where it was not the line's turn.
__keyrack_debug() {
    __keyrack_status=$1 __keyrack_last=$2
    ((!__keyrack_urged)) && [ "${BASH_COMMAND#*__keyrack_debug}" = "$BASH_COMMAND" ] && ! __keyrack_typing || builtin return 0
    __keyrack_armed=0
    if [ "${BASH_COMMAND#__keyrack_}" = "$BASH_COMMAND" ]; then
        __keyrack_line=1
        ((!__keyrack_inside)) || __keyrack_calm __keyrack_before
    fi
}

# What the DEBUG trap ends with, so that $? and $_ are what they were.
__keyrack_again() { builtin return "$__keyrack_status"; }

# __keyrack_urg LAST: the handler of SIGURG; false: the signal was not for us. A
# signal that waits when PS0 forks is handled in the fork as well.
__keyrack_urg() {
    ((!__keyrack_called || !BASH_SUBSHELL)) || builtin return 0
    if __keyrack_calm __keyrack_signalled; then
        __keyrack_urged=0
    else
        __keyrack_urged=0
        builtin return 1
    fi
}

# __keyrack_arrived STATUS: ends the functions cd, pushd and popd.
__keyrack_arrived() {
    { __keyrack_passing || __keyrack_calm __keyrack_moved; } 9>&2 2>/dev/null
    builtin return "$1"
}

# --- Outside ----------------------------------------------------------------
#
# These see the person's options. They change arrays alone, which set -a
# can't export, and are called where set -e has no effect.

# __keyrack_prompt STATUS: the first of all prompt commands. It returns the status of
# the last command line, which the prompt commands after it see. Most of all prompts are
# outside, where nothing is to do: a call costs as much as three of the tests that find
# that out, so that they stand here.
__keyrack_prompt() {
    __keyrack_prompted=1
    if [[ $- != *T* && $__keyrack_inside$__keyrack_asked${#__keyrack_later[@]} == 000 &&
        ! -e ${__keyrack_up[0]-} && ! -e ${__keyrack_up[1]-} && ! -e ${__keyrack_up[2]-} && ! -e ${__keyrack_up[3]-} &&
        ! -e ${__keyrack_up[4]-} && ! -e ${__keyrack_up[5]-} ]] && { ((${#__keyrack_up[@]} <= 6)) || __keyrack_outside; } &&
        [ "${PWD-}|${PROMPT_COMMAND-}|${PS0-}|${precmd_functions-}|${preexec_functions-}|${BLE_ATTACHED-}${bash_preexec_imported-}${__bp_imported-}" = "$__keyrack_up_from|$__keyrack_places" ] &&
        { ((!__keyrack_line)) || __keyrack_covered; }; then
        __keyrack_line=$__keyrack_always
    else
        __keyrack_calm __keyrack_at_prompt
    fi
    builtin return "$1"
}

# Is what came after us where it was at the last prompt?
__keyrack_in_place() { [ "${PROMPT_COMMAND-}|${PS0-}|${precmd_functions-}|${preexec_functions-}|${BLE_ATTACHED-}${bash_preexec_imported-}${__bp_imported-}" = "$__keyrack_places" ]; }

# Is there nothing to do after a cd?
__keyrack_passing() {
    ((!__keyrack_inside)) && [[ ! $__keyrack_root ]] || builtin return
    __keyrack_look_up
    __keyrack_outside || builtin return
    __keyrack_pwd=$PWD
}

# The paths that .keyrack.toml could have, here and upward, are put together once for
# each directory.
__keyrack_look_up() {
    [ "${PWD-}" != "$__keyrack_up_from" ] || builtin return 0
    builtin local "dir=${PWD-}"
    __keyrack_up=(/.keyrack.toml)
    while [[ $dir == /* ]]; do
        __keyrack_up+=("$dir/.keyrack.toml")
        dir=${dir%/*}
    done
    __keyrack_up_from=${PWD-}
}

__keyrack_outside() {
    builtin local file
    for file in "${__keyrack_up[@]}"; do
        [[ ! -e $file ]] || builtin return
    done
}

# Is cd still our function? Where that can't be seen without a fork: did it see the last change?
__keyrack_covered() {
    if ((__keyrack_pipes)); then
        {
            builtin declare -f cd >|/dev/fd/8
            builtin read -r -N "${#__keyrack_covers}" -u 8 __keyrack_seen # which splits nothing, whatever IFS
        } 8<<<''
        [ "$__keyrack_seen" = "$__keyrack_covers" ]
    else
        [ "$PWD" = "$__keyrack_pwd" ]
    fi
}

# --- Moments --------------------------------------------------------------

__keyrack_at_prompt() {
    builtin local __keyrack__nested=0 "__keyrack__ran=$__keyrack_line"
    __keyrack_line=0 __keyrack_called=0 __keyrack_urged=0
    if [[ ! $__keyrack_places ]]; then # the first prompt, after all of the start-up file
        __keyrack__ran=1 __keyrack_covers=
    fi
    if ((__keyrack_asked)); then # no end came: the client was killed, or Ctrl-C
        __keyrack_asked=0
        __keyrack_fail ''
    fi
    __keyrack_register "$__keyrack__ran"
    if ((${#__keyrack_names[@]})) && [[ $__keyrack_held != tree ]]; then
        __keyrack_drop
    fi
    ((!${#__keyrack_later[@]})) || __keyrack_unset_later
    __keyrack_find
    if [[ $__keyrack_root ]] || ((__keyrack_inside)); then
        [[ ! $__keyrack_held ]] || __keyrack_refresh
        __keyrack_ready "$__keyrack__ran"
    else
        __keyrack_look_up
    fi
    __keyrack_tell_now
    __keyrack_line=$__keyrack_always
}

# In tree mode, at the prompt: an edited file takes the values away, and the
# next command line says so; a change at the daemon is asked for here.
__keyrack_refresh() {
    if ! __keyrack_unedited; then
        __keyrack_drop
    elif ! __keyrack_unchanged; then
        __keyrack_ask
    fi
}

__keyrack_before() {
    builtin local __keyrack__nested=0
    __keyrack_line=1
    __keyrack_register 0
    if [[ $__keyrack_root ]] && __keyrack_wanted; then
        __keyrack_ask
    fi
    __keyrack_tell_now
}

# After cd, pushd, popd; in subshells, functions and completions too. Where no
# command line runs (a key's binding, a completion) nothing is asked.
__keyrack_moved() {
    builtin local __keyrack__nested=0 "__keyrack__was=$__keyrack_root" "__keyrack__failed=$__keyrack_failed"
    __keyrack_is_nested && __keyrack__nested=1
    __keyrack_failed=0
    __keyrack_find
    __keyrack_pwd=$PWD
    if ((__keyrack_line == 0)) || __keyrack_typing || __keyrack_starting; then
        ((BASH_SUBSHELL)) || __keyrack_ready 1
        builtin return 0
    fi
    __keyrack_register 0
    if [[ $__keyrack_root ]]; then
        { ((__keyrack__failed)) || ! [ "$__keyrack_root" = "$__keyrack__was" ]; } && __keyrack_ask
        __keyrack_ready 1
    fi
    builtin return 0
}

# Is this a completion, or a command that is bound to a key?
__keyrack_typing() { [[ ${COMP_LINE+x}${READLINE_LINE+x} ]]; }

# Is this the start-up file?
__keyrack_starting() { [[ ! $__keyrack_places && ${FUNCNAME[${#FUNCNAME[@]} - 1]} == source ]]; }

# SIGURG is the one that PS0 calls for, or the daemon's in tree mode, or nobody's.
__keyrack_signalled() {
    builtin local __keyrack__nested=0
    builtin wait "$$" # which forgets the signal: else the next wait of the person's would not wait
    if ((__keyrack_called)); then
        __keyrack_called=0
        __keyrack_before
        builtin return 0
    fi
    [[ $__keyrack_held == tree ]] && ! __keyrack_unchanged || builtin return 1
    __keyrack_is_nested && __keyrack__nested=1
    __keyrack_ask
    builtin return 0
}

# --- The worksite ---------------------------------------------------------

# Walk upward to the nearest .keyrack.toml. In another worksite, or outside, the
# values of the last one end, and so does what was said and what failed there.
__keyrack_find() {
    builtin local "__keyrack__dir=$PWD" __keyrack__root=
    while [[ $__keyrack__dir == /* ]]; do
        if [[ -e $__keyrack__dir/.keyrack.toml ]]; then
            __keyrack__root=$__keyrack__dir
            builtin break
        fi
        __keyrack__dir=${__keyrack__dir%/*}
    done
    if [[ ! $__keyrack__root && -e /.keyrack.toml ]]; then
        __keyrack__root=/
    fi
    [[ ! $__keyrack__root$__keyrack_root ]] || [ "$__keyrack__root" = "$__keyrack_root" ] && builtin return
    __keyrack_drop
    [[ ! $__keyrack_shadowing ]] || __keyrack_shadow ''
    __keyrack_root=$__keyrack__root
    __keyrack_announced=0 __keyrack_failed=0 __keyrack_said=
}

# Is there anything to ask before this command line? Reads a file, forks nothing.
__keyrack_wanted() {
    if ((__keyrack_failed)); then
        builtin local REPLY
        __keyrack_read_generation
        ! [ "$REPLY" = "$__keyrack_generation" ]
    elif [[ $__keyrack_held == tree ]]; then
        ! { __keyrack_unedited && __keyrack_unchanged; }
    fi
}

__keyrack_read_generation() {
    REPLY=
    [[ -r $__keyrack_generation_file ]] && IFS='' builtin read -r REPLY <"$__keyrack_generation_file"
}

__keyrack_unchanged() {
    builtin local REPLY
    __keyrack_read_generation
    [[ $REPLY ]] && [ "$REPLY" = "$__keyrack_generation" ]
}

__keyrack_unedited() {
    builtin local REPLY
    __keyrack_read_file
    [ "$REPLY" = "$__keyrack_text" ]
}

__keyrack_read_file() {
    REPLY=
    [[ -f $__keyrack_root/.keyrack.toml && -r $__keyrack_root/.keyrack.toml ]] &&
        IFS='' builtin read -r -d '' REPLY <"$__keyrack_root/.keyrack.toml"
}

# --- Asking ---------------------------------------------------------------

# The client is a Go program, which starts faster for one processor.
__keyrack_ask() {
    builtin local __keyrack__code=
    __keyrack_asked=1 # stays where Ctrl-C ends all this
    if __keyrack_ring; then
        builtin true
    elif [[ -x $__keyrack_bin ]]; then
        __keyrack__code=$(GOMAXPROCS=1 \builtin exec "$__keyrack_bin" __hook bash "$__keyrack_root" "$$" 2>&9 9>&-)
    else
        builtin printf 'keyrack: %s is gone, start a new shell once keyrack is installed again\n' "$__keyrack_bin" >&9
    fi
    __keyrack_asked=0
    __keyrack_take "$__keyrack__code"
}

# Ask the daemon without a fork: it opens the pipes 7, which has the question, and 8,
# for the answer, once a file of this process id rings. An answer is the length of its
# code, 0 where the client has to ask, and the code, in one piece. Where none comes, the
# client asks for a minute. In the handler of a signal a bare "return" is of what ran before.
__keyrack_ring() {
    ((__keyrack_pipes)) && [[ -S $__keyrack_socket && -O ${__keyrack_asks%/*} && -d $__keyrack_asks && ${#__keyrack_root} -lt 1000 && $__keyrack_root != *$'\n'* ]] &&
        ((EPOCHSECONDS >= __keyrack_deaf)) || builtin return 1
    builtin local REPLY=
    {
        builtin : >>"$__keyrack_asks/$BASHPID"
        if builtin read -r -N 9 -t 0.15 -u 8; then
            REPLY=$((10#${REPLY#?}))
            ((!REPLY)) || builtin read -r -N "$REPLY" -u 8 __keyrack__code
        elif [[ -S $__keyrack_socket ]]; then
            __keyrack_deaf=$((EPOCHSECONDS + 60))
        fi
    } 7<<<"#keyrack 1 bash $$ $__keyrack_root" 8<<<'' 8<>/dev/fd/8
    [[ $__keyrack__code ]]
}

# __keyrack_take CODE: the calls of put, say and end that are an answer. What was
# held goes first, also where an answer breaks off in the middle.
__keyrack_take() {
    builtin local __keyrack__status='' __keyrack__generation='' __keyrack__mode='' __keyrack__summary='' __keyrack__lines='' __keyrack__commands=''
    __keyrack_drop
    builtin eval "$1"
    [ "$__keyrack__commands" = "$__keyrack_shadowing" ] || __keyrack_shadow "$__keyrack__commands"
    if [[ ! $__keyrack__status ]]; then
        __keyrack_drop
        __keyrack_fail ''
        builtin return
    fi
    __keyrack_hold
    case $__keyrack__status in
    locked | unavailable | no-rack) __keyrack_fail "$__keyrack__generation" ;;
    *) __keyrack_failed=0 ;;
    esac
    __keyrack_tell
}

# __keyrack_fail GENERATION: ask no more until it changes, or a cd.
__keyrack_fail() {
    builtin local "REPLY=$1"
    [[ $REPLY ]] || __keyrack_read_generation
    __keyrack_generation=$REPLY
    __keyrack_failed=1
}

# Mark what is exported, for shells started from here, and how long it stays.
__keyrack_hold() {
    builtin local IFS=' ' REPLY
    ((${#__keyrack_names[@]})) || builtin return 0
    builtin export KEYRACK_EXPORTED="1 ${__keyrack_names[*]}"
    __keyrack_held=command __keyrack_generation=$__keyrack__generation
    if [[ $__keyrack__mode == tree ]]; then
        __keyrack_held=tree
        __keyrack_read_file
        __keyrack_text=$REPLY
    fi
}

# Lines for people are said once, the summary once for each time of entering;
# not in a subshell, whose visit nobody sees. A signal that came while an entry
# point ran finds no place to write to, and leaves its lines to the next one.
__keyrack_tell() {
    if ! [ "$__keyrack__lines" = "$__keyrack_said" ]; then
        __keyrack_said=$__keyrack__lines
        __keyrack_untold+=$__keyrack__lines
    fi
    if [[ $__keyrack__summary && $BASH_SUBSHELL == 0 ]] && ((!__keyrack_announced)); then
        __keyrack_announced=1
        __keyrack_untold+="keyrack: $__keyrack__summary"$'\n'
    fi
    [[ /dev/fd/9 -ef /dev/null ]] || __keyrack_tell_now
}

__keyrack_tell_now() {
    [[ $__keyrack_untold ]] || builtin return 0
    builtin printf %s "$__keyrack_untold" >&9
    __keyrack_untold=
}

# The four functions that an answer calls, inside __keyrack_take.

# A command that mends what the line before it says stands alone, to be pasted.
__keyrack_say() {
    [ "${1#keyrack }" != "$1" ] || __keyrack__lines+='keyrack: '
    __keyrack__lines+=$1$'\n'
}

# shellcheck disable=SC2034 # variables of __keyrack_take
__keyrack_end() {
    __keyrack__status=$1 __keyrack__generation=$2 __keyrack__mode=$3 __keyrack__summary=$4
}

# shellcheck disable=SC2034 # a variable of __keyrack_take
__keyrack_commands() { __keyrack__commands=$1; }

# __keyrack_put NAME VALUE...
__keyrack_put() {
    builtin local __keyrack__all __keyrack__text
    while (($#)); do
        __keyrack__all="$1[@]" __keyrack__text=
        if [[ $1 == *' '* || $__keyrack_known != *" $1 "* ]] && ! __keyrack_valid "$1"; then
            __keyrack_say "a name that may not be exported is left out"
        elif ((__keyrack__nested)) && __keyrack_shadowed "$1"; then
            __keyrack_text= # a function's local variable: asked again when that is over
        elif [[ ${!__keyrack__all+x} ]] && ! __keyrack_keep "$1"; then
            __keyrack_say "$1 can't be set in this shell and is left alone"
        else
            __keyrack_names+=("$1") __keyrack_was+=("$__keyrack__text")
            builtin export "$1=$2" || __keyrack_say "$1 can't be set in this shell and is left alone"
        fi
        builtin shift 2
    done
}

# The letters stand one by one: what a range like a-z holds is a matter of the locale.
__keyrack_valid() {
    case $1 in
    '' | [0123456789]* | *[!abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_]*) builtin return 1 ;;
    LD_* | DYLD_* | KEYRACK_* | __keyrack* | BASH* | ZSH_* | fish_* | __fish* | XDG_* | COMP_* | GIT_CONFIG*) builtin return 1 ;;
    esac
    case $__keyrack_refused in
    *" $1 "*) builtin return 1 ;;
    esac
    __keyrack_known+="$1 " # so that it is looked at once
}

# --- Commands that have secrets of their own ----------------------------------

# __keyrack_shadow NAMES: functions in the place of commands, in that of the last
# ones. By them a command gets the secrets that are for it, which never enter this
# shell: "keyrack exec" sees all of its words. Those that start another command are
# among them. What is a function of the person's stays one.
__keyrack_shadow() {
    builtin local name REPLY IFS=' '
    for name in ${__keyrack_shadows[@]+"${__keyrack_shadows[@]}"}; do
        __keyrack_capture builtin declare -f "$name"
        [[ $REPLY != *__keyrack_exec* ]] || builtin unset -f "$name"
    done
    __keyrack_shadows=() __keyrack_shadowing=$1
    for name in $1 ${1:+$__keyrack_wrappers}; do
        [[ $name == [![:alnum:]_]* || $name == *[![:alnum:]._+-]* ]] && builtin continue
        __keyrack_capture builtin type -t "$name"
        case $REPLY in
        function) __keyrack_say "$name is a function here, which gets no secret that is for it: keyrack exec -- $name" ;;
        builtin | keyword) ;;
        *) builtin eval "function $name { __keyrack_exec $name \"\$@\"; }" && __keyrack_shadows+=("$name") ;;
        esac
    done
}

# Does a command line run?
__keyrack_running() {
    ((__keyrack_line && !__keyrack_armed)) && ! __keyrack_typing && { [[ $__keyrack_how != debug ]] || ((!__keyrack_prompted)); }
}

# At the prompt, for what shows it or completes, a command is only itself.
__keyrack_exec() {
    if __keyrack_running && [[ -x $__keyrack_program ]]; then
        "$__keyrack_program" exec --from-hook -- "$@"
    else
        builtin command "$@"
    fi
}

# --- What was there before ------------------------------------------------

# __keyrack_keep NAME: its value as code in __keyrack__text, and unset it. False where it can't be.
__keyrack_keep() {
    builtin local REPLY IFS=' '
    [[ " ${__keyrack_names[*]-} " != *" $1 "* ]] || builtin return 0 # it is ours already
    __keyrack_flags "$1"
    [ "${REPLY#*[rn]}" = "$REPLY" ] || builtin return 1
    if ((__keyrack_attributes)) && [ "${REPLY#*[aA]}" = "$REPLY" ]; then
        builtin printf -v __keyrack__text 'declare -%s %s=%q' "${REPLY:--}" "$1" "${!1}"
    else
        __keyrack__text=$(\builtin declare -p "$1")
    fi
    builtin unset -v "$1"
}

# __keyrack_flags NAME: the letters of its attributes in REPLY, without a fork
# from bash 4.4 on, and where it has no value, which might not fit a pipe.
__keyrack_flags() {
    builtin local "__keyrack__all=$1[@]"
    if [[ ! ${!__keyrack__all+x} ]]; then
        __keyrack_capture builtin declare -p "$1"
    elif ((__keyrack_attributes)) && ! [ -R "$1" ]; then
        REPLY="declare -${!__keyrack__all@a}"
    else
        REPLY=$(\builtin declare -p "$1")
    fi
    REPLY=${REPLY#declare -}
    REPLY=${REPLY%% *}
}

# What bash does after the client was forked costs a page fault for each name that
# it looks up for the first time: hence few names, and one call for all variables.
__keyrack_drop() {
    builtin local __keyrack__left=${#__keyrack_names[@]} IFS=
    __keyrack_held='' __keyrack_text=
    ((__keyrack__left)) || builtin return 0
    if ((__keyrack__nested)) || [[ ${__keyrack_was[*]} ]] || ! builtin unset -v "${__keyrack_names[@]}"; then
        while ((__keyrack__left--)); do # backwards: what stood before a name that came twice is with its first
            __keyrack_restore "${__keyrack_names[__keyrack__left]}" "${__keyrack_was[__keyrack__left]}"
        done
    fi
    __keyrack_names=() __keyrack_was=()
    builtin unset -v KEYRACK_EXPORTED
}

# __keyrack_restore NAME CODE. A local variable of a function that still runs
# hides the one that is meant; that one loses its value now, and is unset at the prompt.
__keyrack_restore() {
    if __keyrack_shadowed "$1"; then
        builtin declare -g +x "$1="
        [[ $2 ]] || __keyrack_later+=("$1")
        __keyrack_restore_code "$2"
    elif ! builtin unset -v "$1"; then # the person made it readonly
        builtin export -n "${1?}"
    elif [[ $2 ]]; then
        __keyrack_restore_code "$2"
    fi
}

__keyrack_unset_later() {
    builtin local __keyrack__name
    for __keyrack__name in "${__keyrack_later[@]}"; do
        builtin unset -v "$__keyrack__name"
    done
    __keyrack_later=()
}

# __keyrack_restore_code "declare -x NAME=…": in the global scope, which bash
# before 4.2 has no option for. Aliases are on again: hence the backslash.
__keyrack_restore_code() {
    builtin local __keyrack__text="${1#declare }" __keyrack__flags
    [[ $__keyrack__text ]] || builtin return 0
    __keyrack__flags=${__keyrack__text%% *} __keyrack__text=${__keyrack__text#* }
    if ((!__keyrack_global)); then
        builtin eval "$__keyrack__text"
        [ "${__keyrack__flags#*x}" = "$__keyrack__flags" ] || builtin export "${__keyrack__text%%=*}"
    elif [[ $__keyrack__text == *'=('* && $__keyrack__flags == *[aA]* ]]; then # no compound assignment after "builtin"
        builtin declare -g "$__keyrack__flags" "$__keyrack__text"
    else
        builtin eval "\\builtin declare -g $__keyrack__flags $__keyrack__text"
    fi
}

# Is the function that called cd, or the line, in a function of the person's?
__keyrack_is_nested() {
    builtin local name
    for name in "${FUNCNAME[@]}"; do
        case $name in
        __keyrack_* | cd | pushd | popd | main | source) ;;
        *) builtin return 0 ;;
        esac
    done
    builtin return 1
}

# __keyrack_shadowed NAME: does a local variable hide the global one? The global
# one gets an attribute, without any other effect, which the visible one has or has not.
__keyrack_shadowed() {
    ((__keyrack__nested && __keyrack_global)) || builtin return 1
    builtin local REPLY
    builtin declare -gt "$1"
    __keyrack_flags "$1"
    builtin declare -g +t "$1"
    [ "${REPLY#*t}" = "$REPLY" ]
}

# --- In place, and kept in place -------------------------------------------

# __keyrack_register RAN: what came after us may have replaced anything, so look
# at each prompt; at cd, which costs more, only after a command line.
__keyrack_register() {
    if [[ $__keyrack_arm ]] || ! __keyrack_in_place; then
        __keyrack_register_all
    fi
    if (($1)) && { [[ ! $__keyrack_covers ]] || ! __keyrack_covered; }; then
        __keyrack_cover
    fi
    __keyrack_pwd=$PWD
}

__keyrack_register_all() {
    if [[ ${BLE_ATTACHED-} ]]; then
        __keyrack_register_ble
    elif [[ ${bash_preexec_imported-}${__bp_imported-} ]]; then
        __keyrack_register_preexec
        __keyrack_register_ps0
    else
        __keyrack_register_prompt
        __keyrack_register_ps0
    fi
    __keyrack_places="${PROMPT_COMMAND-}|${PS0-}|${precmd_functions-}|${preexec_functions-}|${BLE_ATTACHED-}${bash_preexec_imported-}${__bp_imported-}"
}

# A string stays one, so that who replaces it, or saves it to run it later, gets
# it whole. What has to outlive that comes in an element of its own.
__keyrack_register_prompt() {
    builtin local theirs
    [[ $__keyrack_form ]] && [ "${PROMPT_COMMAND-}" = "$__keyrack_string" ] && __keyrack_is_last "${PROMPT_COMMAND[@]}" && builtin return
    __keyrack_shape
    __keyrack_theirs
    __keyrack_string=$__keyrack_entry
    if [[ $__keyrack_kind != array ]]; then
        __keyrack_string+=${theirs[0]+$'\n'${theirs[0]}}
        theirs=("${theirs[@]:1}")
    fi
    if [[ $__keyrack_form == array ]]; then
        builtin unset -v PROMPT_COMMAND
        PROMPT_COMMAND=("$__keyrack_string" "${theirs[@]}" ${__keyrack_arm:+"$__keyrack_arm"})
    else
        builtin export -n PROMPT_COMMAND
        __keyrack_string+=${__keyrack_arm:+$'\n'$__keyrack_arm}
        PROMPT_COMMAND=$__keyrack_string
    fi
}

__keyrack_is_last() {
    [[ ! $__keyrack_arm || $__keyrack_form != array ]] || [ "${!#}" = "$__keyrack_arm" ]
}

# theirs: the prompt commands without ours. What was put around ours keeps working.
__keyrack_theirs() {
    builtin local item own
    theirs=()
    for item in ${PROMPT_COMMAND[@]+"${PROMPT_COMMAND[@]}"}; do
        item=${item#"$__keyrack_entry"$'\n'}
        item=${item%"${__keyrack_arm:+$'\n'$__keyrack_arm}"}
        for own in "$__keyrack_entry" "$__keyrack_arm"; do
            [[ $own && $item == *"$own"* ]] || builtin continue
            item="${item%%"$own"*}\\builtin true${item#*"$own"}"
        done
        [ "$item" = '\builtin true' ] || theirs+=("$item")
    done
}

# What the person made PROMPT_COMMAND, __keyrack_kind, and what we make of it, __keyrack_form.
__keyrack_shape() {
    builtin local REPLY
    __keyrack_capture builtin declare -p PROMPT_COMMAND
    if [[ $__keyrack_form != string || $REPLY != 'declare -a'* ]]; then
        [[ $__keyrack_form && $REPLY == *__keyrack_* ]] && builtin return
    fi
    case $REPLY in
    'declare -a'*) __keyrack_kind=array ;;
    'declare -x'*) __keyrack_kind=exported ;;
    'declare '*=*) __keyrack_kind=string ;;
    *) __keyrack_kind=none ;;
    esac
    __keyrack_form=string
    if ((__keyrack_arrays)) && [[ $__keyrack_kind == array || $__keyrack_arm ]]; then
        __keyrack_form=array
    fi
}

__keyrack_unregister_prompt() {
    builtin local theirs joined
    [[ $__keyrack_form ]] || builtin return 0
    __keyrack_theirs
    joined=${theirs[0]-}
    builtin unset -v PROMPT_COMMAND
    if [[ $__keyrack_kind == array ]] || ((${#theirs[@]} > 1)); then
        PROMPT_COMMAND=(${theirs[@]+"${theirs[@]}"})
    elif [[ $__keyrack_kind != none || $joined ]]; then
        PROMPT_COMMAND=$joined
        [[ $__keyrack_kind != exported ]] || builtin export PROMPT_COMMAND
    fi
    __keyrack_form=
}

# bash-preexec runs precmd_functions with the status in place. Its preexec_functions
# hang on a DEBUG trap, which misses a line that begins with "(": PS0 is better.
__keyrack_register_preexec() {
    builtin local others
    __keyrack_unregister_prompt
    if ! [ "${precmd_functions-}" = __keyrack_precmd ]; then
        __keyrack_without __keyrack_precmd ${precmd_functions[@]+"${precmd_functions[@]}"}
        precmd_functions=(__keyrack_precmd ${others[@]+"${others[@]}"})
    fi
    if [[ $__keyrack_how == debug ]] && ! [ "${preexec_functions-}" = __keyrack_preexec ]; then
        __keyrack_without __keyrack_preexec ${preexec_functions[@]+"${preexec_functions[@]}"}
        preexec_functions=(__keyrack_preexec ${others[@]+"${others[@]}"})
    fi
}

# __keyrack_without NAME ITEM...: others holds the other items.
__keyrack_without() {
    builtin local "name=$1" item
    others=()
    builtin shift
    for item; do
        [ "$item" = "$name" ] || others+=("$item")
    done
}

# ble.sh runs the command line itself; its hooks are the place. "!=" adds once.
__keyrack_register_ble() {
    [[ $__keyrack_how == ble ]] && builtin return
    __keyrack_unregister
    __keyrack_how=ble
    blehook PRECMD!=__keyrack_precmd PREEXEC!=__keyrack_preexec
}

__keyrack_register_ps0() {
    [[ $__keyrack_piece && ${PS0-} != *"$__keyrack_piece"* ]] || builtin return 0
    [[ $__keyrack_ps0_was ]] || __keyrack_ps0_was=${PS0-unset}
    PS0=${PS0-}$__keyrack_piece
}

__keyrack_unregister() {
    builtin local others
    __keyrack_unregister_prompt
    if [[ $__keyrack_piece && ${PS0-} == *"$__keyrack_piece"* ]]; then
        PS0=${PS0%%"$__keyrack_piece"*}${PS0#*"$__keyrack_piece"}
        [[ $PS0 || $__keyrack_ps0_was != unset ]] || builtin unset -v PS0
    fi
    if [[ ${precmd_functions[*]-} == *__keyrack_* ]]; then
        __keyrack_without __keyrack_precmd "${precmd_functions[@]}"
        precmd_functions=(${others[@]+"${others[@]}"})
    fi
    if [[ ${preexec_functions[*]-} == *__keyrack_* ]]; then
        __keyrack_without __keyrack_preexec "${preexec_functions[@]}"
        preexec_functions=(${others[@]+"${others[@]}"})
    fi
}

# __keyrack_capture COMMAND...: its output in REPLY, without a fork where
# /dev/fd opens a here-string's pipe for writing. The output must fit a pipe.
__keyrack_capture() {
    REPLY=
    if ((__keyrack_pipes)); then
        {
            "$@" >|/dev/fd/8
            builtin read -r -N 65536 -u 8 # -d would read byte by byte
        } 8<<<''
        REPLY=${REPLY#$'\n'}
        REPLY=${REPLY%$'\n'}
    else
        REPLY=$("$@")
    fi
}

# --- cd, pushd, popd --------------------------------------------------------

__keyrack_cover() {
    builtin local REPLY name aliases=
    builtin shopt -q expand_aliases && aliases=on
    builtin shopt -u expand_aliases # of cd, and of what the person's function says
    for name in cd pushd popd; do
        __keyrack_cover_one "$name"
    done
    [[ ! $aliases ]] || builtin shopt -s expand_aliases
    __keyrack_capture builtin declare -f cd
    __keyrack_covers=$'\n'$REPLY$'\n' # as __keyrack_covered reads it
}

__keyrack_cover_one() {
    builtin local "to=\\builtin $1"
    __keyrack_capture builtin declare -f "$1"
    [[ $REPLY == *'__keyrack_arrived "$?"'* ]] && builtin return
    builtin unset -f "__keyrack_user_$1"
    if [[ $REPLY ]]; then
        to=__keyrack_user_$1
        builtin eval "__keyrack_user_$REPLY"
    fi
    builtin eval "$1() { $to \"\$@\"; __keyrack_arrived \"\$?\"; }"
}

__keyrack_uncover_one() {
    __keyrack_capture builtin declare -f "$1"
    [[ $REPLY == *'__keyrack_arrived "$?"'* ]] || builtin return 0
    builtin unset -f "$1"
    __keyrack_capture builtin declare -f "__keyrack_user_$1"
    [[ ! $REPLY ]] || builtin eval "${REPLY#__keyrack_user_}"
}

# --- Before a command line, in shells without ${ …; } ------------------------

# __keyrack_ready RAN: at the prompt, or after a cd, for the next command line.
__keyrack_ready() {
    __keyrack_inside=0
    if [[ $__keyrack_root ]]; then
        __keyrack_inside=1
    fi
    if [[ $__keyrack_how == signal || $__keyrack_held == tree ]]; then
        ((__keyrack_inside && BASH_SUBSHELL == 0)) && { (($1)) || ((!__keyrack_urg_taken)); } && __keyrack_trap
    fi
    if [[ $__keyrack_how == debug ]]; then
        __keyrack_arming=
        ((!__keyrack_inside && !__keyrack_pipes)) || __keyrack_arming=$__keyrack_arms
    fi
    builtin return 0
}

# Take SIGURG, and keep what the person wants done with it.
__keyrack_trap() {
    builtin local REPLY
    __keyrack_capture builtin trap -p URG
    [[ $REPLY == *'{ __keyrack_urg '* ]] && builtin return
    [[ $REPLY != 'trap -- - '* ]] || REPLY= # none, in the words of posix mode
    __keyrack_urg_theirs=$REPLY
    __keyrack_action "$REPLY"
    __keyrack_urg_action=$REPLY
    builtin trap -- '{ __keyrack_urg "$_"; } 9>&$((__keyrack_urged=2)) 2>/dev/null || \builtin eval "$__keyrack_urg_action"' URG
    __keyrack_urg_taken=1
}

# __keyrack_action "trap -- 'ACTION' SIGNAL": ACTION in REPLY.
__keyrack_action() {
    [[ ! $1 ]] || builtin eval "\\builtin set ${1#trap }"
    REPLY=$1
}

# Put ours before the person's DEBUG trap for the first command of a line, after
# which theirs stands alone again: in the code of __keyrack_arming, since a
# function neither sees the trap nor can change it.
__keyrack_arm() {
    builtin local REPLY quoted
    __keyrack_armed=1 __keyrack_arming_code=
    __keyrack_trapped=${__keyrack_trapped#$'\n'}
    [[ $__keyrack_trapped != *__keyrack_debug* ]] || builtin return 0
    [[ $__keyrack_trapped != 'trap -- - '* ]] || __keyrack_trapped= # none, in the words of posix mode
    __keyrack_action "${__keyrack_trapped%$'\n'}"
    __keyrack_disarm='\builtin trap - DEBUG'
    if [[ $__keyrack_trapped ]]; then
        builtin printf -v quoted %q "$REPLY"
        __keyrack_disarm="\\builtin trap -- $quoted DEBUG"
    fi
    builtin printf -v quoted %q "$__keyrack_first_command${REPLY:+$'\n'$REPLY}"
    __keyrack_arming_code="\\builtin trap -- $quoted DEBUG"
}

# --- On and off ---------------------------------------------------------------

__keyrack_off() {
    { __keyrack_calm __keyrack_undo "${1-}"; } 9>&2 2>/dev/null
    builtin return 0
}

# __keyrack_undo again: the prelude stays, for the script that is being read.
__keyrack_undo() {
    builtin local REPLY __keyrack__name __keyrack__aliases='' __keyrack__nested=0
    __keyrack_drop
    __keyrack_shadow ''
    __keyrack_unregister
    [[ $__keyrack_how != ble ]] || blehook PRECMD-=__keyrack_precmd PREEXEC-=__keyrack_preexec
    builtin shopt -q expand_aliases && __keyrack__aliases=on
    builtin shopt -u expand_aliases
    for __keyrack__name in cd pushd popd; do
        __keyrack_uncover_one "$__keyrack__name"
    done
    [[ ! $__keyrack__aliases ]] || builtin shopt -s expand_aliases
    __keyrack_untrap
    __keyrack_capture builtin compgen -A function __keyrack_
    for __keyrack__name in "${!__keyrack_@}"; do
        case $1$__keyrack__name in
        again__keyrack_aliases | again__keyrack_bin | again__keyrack_socket | again__keyrack_generation_file | again__keyrack_before) ;;
        *__keyrack__*) ;; # local
        *) builtin unset -v "$__keyrack__name" ;;
        esac
    done
    while IFS='' builtin read -r __keyrack__name; do
        builtin unset -f "$__keyrack__name"
    done <<<"$REPLY"
}

__keyrack_untrap() {
    builtin local REPLY
    ((__keyrack_urg_taken)) || builtin return 0
    __keyrack_capture builtin trap -p URG
    [[ $REPLY == *'{ __keyrack_urg '* ]] || builtin return 0
    builtin trap - URG
    [[ ! $__keyrack_urg_theirs ]] || builtin eval "\\builtin $__keyrack_urg_theirs"
}

# How a command line can be preceded here: "funsub", PS0 with ${ …; }; "signal",
# PS0 with ${x@P}, whose expansion forks and sends SIGURG, whose handler runs in this
# shell; "debug", the DEBUG trap. bash-preexec has no say in
# it, ble.sh has.
__keyrack_find_how() {
    case ${__keyrack_before-} in
    debug) __keyrack_how=debug ;;
    ps0) __keyrack_how=signal ;;
    ps5.3) __keyrack_how=funsub ;;
    *)
        __keyrack_how=debug
        builtin shopt -q promptvars || builtin return 0
        if (builtin eval 'x=${ builtin echo y; }' && [ "$x" = y ]); then
            __keyrack_how=funsub
        elif (builtin eval 'x="\$((1))" && x=${x@P}' && [ "$x" = 1 ]); then
            __keyrack_how=signal
        fi
        ;;
    esac
}

# Arrays are what the expansion of PS0 writes to: set -a can't export them.
__keyrack_begin() {
    __keyrack_root='' __keyrack_held='' __keyrack_text='' __keyrack_generation='' __keyrack_failed=0
    __keyrack_announced=0 __keyrack_said='' __keyrack_untold='' __keyrack_names=() __keyrack_was=() __keyrack_later=()
    __keyrack_line=(0) __keyrack_prompted=(0) __keyrack_inside=(0) __keyrack_asked=(0) __keyrack_called=(0) __keyrack_urged=(0)
    __keyrack_places='' __keyrack_covers='' __keyrack_pwd=('') __keyrack_seen=('') __keyrack_up_from=('') __keyrack_up=() __keyrack_form='' __keyrack_kind='' __keyrack_string='' __keyrack_ps0_was=''
    __keyrack_shadowing='' __keyrack_shadows=() __keyrack_wrappers='doas env ionice nice nohup setsid stdbuf sudo timeout xargs' __keyrack_program=${__keyrack_bin%/*}/keyrack
    __keyrack_urg_taken=0 __keyrack_urg_theirs='' __keyrack_urg_action=''
    __keyrack_armed=(0) __keyrack_arming='' __keyrack_arming_code='' __keyrack_disarm='' __keyrack_trapped=() __keyrack_status=() __keyrack_last=()
    __keyrack_entry='{ __keyrack_prompt "$?" && \builtin true; } 9>&2 2>/dev/null'
    __keyrack_arm='' __keyrack_piece=''
    __keyrack_asks=${__keyrack_socket%sock}asks __keyrack_deaf=0
    __keyrack_ps0=('') # outside; inside
    __keyrack_always=0 # without PS0, nothing tells that a line begins outside
    case $__keyrack_how in
    funsub)
        __keyrack_ps0+=('${ { __keyrack_calm __keyrack_before; } 9>&2 >&2 2>/dev/null; }')
        __keyrack_piece='${__keyrack_ps0[__keyrack_line=1,__keyrack_inside]@P}'
        ;;
    signal) # backquotes, since bash 5.2 can't handle a signal that waits when it parses $(
        __keyrack_ps0+=('`{ \builtin kill -s URG "$$" || \command kill -s URG "$$"; } 2>/dev/null`')
        __keyrack_piece='${__keyrack_ps0[__keyrack_line=1,__keyrack_called=__keyrack_inside]@P}'
        ;;
    debug)
        __keyrack_always=1
        __keyrack_line=1
        __keyrack_arm='{ __keyrack_last_prompt; \builtin eval "$__keyrack_arming"; } 9>&2 2>/dev/null'
        __keyrack_arms='__keyrack_trapped=$(\builtin trap -p DEBUG)'
        if ((__keyrack_pipes)); then
            __keyrack_arms="{ \\builtin trap -p DEBUG >|/dev/fd/8; \\builtin read -r -N 65536 -u 8 __keyrack_trapped || \\builtin true; } 8<<<''"
        fi
        __keyrack_arms+=$'\n''__keyrack_calm __keyrack_arm; \builtin eval "$__keyrack_arming_code"'
        __keyrack_first_command='{ __keyrack_debug "$?" "$_"; ((__keyrack_armed)) || \builtin eval "$__keyrack_disarm"; __keyrack_again "$__keyrack_last" && __keyrack_again "$__keyrack_last"; } 9>&2 2>/dev/null'
        ;;
    esac
}

# Secrets that the shell was started with belong to the line that started it.
__keyrack_forget_inherited() {
    builtin local IFS=' ' __keyrack__name __keyrack__names
    builtin read -r -a __keyrack__names <<<"${KEYRACK_EXPORTED-}"
    for __keyrack__name in ${__keyrack__names[@]+"${__keyrack__names[@]:1}"}; do
        __keyrack_valid "$__keyrack__name" && builtin unset -v "$__keyrack__name"
    done
    builtin unset -v KEYRACK_EXPORTED
}

__keyrack_start() {
    builtin local REPLY
    builtin export -n __keyrack_bin __keyrack_socket __keyrack_generation_file
    __keyrack_known=' '
    __keyrack_refused=' _ PATH HOME IFS SHELL ENV PWD OLDPWD CDPATH PROMPT_COMMAND PROMPT RPROMPT PS0 PS1 PS2 PS3 PS4 
 SHELLOPTS FPATH ZDOTDIR FIGNORE GLOBIGNORE HISTFILE HISTCMD INPUTRC TMOUT OPTARG OPTIND REPLY 
 FUNCNEST UID EUID PPID path fpath cdpath prompt status argv pipestatus version GCONV_PATH LOCPATH 
 NLSPATH HOSTALIASES RESOLV_HOST_CONF GETCONF_DIR MALLOC_TRACE TMPDIR NODE_OPTIONS NODE_PATH 
 PYTHONSTARTUP PYTHONPATH PYTHONHOME PERL5LIB PERL5OPT PERL5DB RUBYLIB RUBYOPT JAVA_TOOL_OPTIONS 
 _JAVA_OPTIONS JDK_JAVA_OPTIONS GIT_SSH GIT_SSH_COMMAND GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_ASKPASS GIT_PAGER GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PROXY_COMMAND SSH_ASKPASS SUDO_ASKPASS LESSOPEN LESSCLOSE MANPAGER EDITOR VISUAL 
 PAGER BROWSER '
    __keyrack_find_how
    [[ $__keyrack_how == debug ]] || __keyrack_calm_local
    __keyrack_pipes=1
    __keyrack_capture builtin echo x
    [ "$REPLY" = x ] || __keyrack_pipes=0
    __keyrack_begin
    __keyrack_global=0
    builtin declare -g __keyrack_global=1
    # Prompt commands are an array from 5.1 on; earlier shells run its first element alone.
    __keyrack_arrays=$((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 501))
    __keyrack_attributes=$((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) # ${x@a}
    [[ ! ${KEYRACK_EXPORTED+x} ]] || __keyrack_forget_inherited
    __keyrack_register 1
    __keyrack_find
    __keyrack_ready 1
    __keyrack_places= # so that the first prompt looks at all once more
}

{ __keyrack_calm __keyrack_start; } 9>&2 2>/dev/null

else
\builtin unset -v __keyrack_bin __keyrack_socket __keyrack_generation_file __keyrack_before
fi
[[ ! ${__keyrack_aliases-} ]] || \builtin shopt -s expand_aliases
\builtin unset -v __keyrack_aliases
