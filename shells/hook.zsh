# keyrack's hook for zsh 5: the secrets of a worksite are exported while a
# command line runs inside it, and at no other time.
#
# Assignments of __keyrack_bin, __keyrack_socket and __keyrack_generation_file
# (and __keyrack_use_client, to ask through the client alone) stand before this
# file.
#
# All of it is one word in single quotes, so that no alias of the person's is
# expanded in it; therefore there is no single quote below. "emulate -c" makes
# its options stick to each function: none of them sees the person's options,
# none is traced, and theirs are back when the function returns. Functions of
# the person's with a builtin's name are kept out by "builtin". Variables that
# are alive while a secret is set are named __keyrack_*, which no secret is. What
# is not simple is that way for speed: a call of a function, for which zsh maps and
# unmaps memory, costs as much as 30 tests, and an assignment to an array or a
# builtin as much as 5. So one command line is __keyrack_preexec, __keyrack_ask and
# __keyrack_precmd, and these call others only where something is unusual.

'builtin' 'emulate' 'zsh' '-o' 'no_aliases' '-o' 'no_xtrace' '-o' 'no_verbose' '-o' 'no_err_exit' '-o' 'no_err_return' '-o' 'unset' '-o' 'no_multibyte' '-o' 'typeset_silent' '-c' '
if [[ -o interactive ]]; then

(( ! ${+functions[__keyrack_off]} )) || __keyrack_off again

# --- Moments --------------------------------------------------------------

# The first of all prompt hooks: the line is over, and so are its secrets. With
# "find", in the middle of a line, it only looks where the shell is.
__keyrack_precmd() {
    if [[ ${1-} != find ]]; then
        __keyrack_ran=$__keyrack_line __keyrack_line=0
        if [[ $__keyrack_held == tree ]]; then
            (( ! ${#__keyrack_later} )) || __keyrack_restore_later
        elif (( ${#__keyrack_names} + ${#__keyrack_covered} + ${#__keyrack_later} )); then
            builtin local __keyrack_name __keyrack_theirs __keyrack_types=
            for __keyrack_name in $__keyrack_names; do
                __keyrack_types+=${(Pt)__keyrack_name}
            done
            if [[ -z ${__keyrack_types//scalar-export}${(k)__keyrack_was} ]]; then
                builtin unset KEYRACK_EXPORTED $__keyrack_names
                __keyrack_names=() __keyrack_held=
            else
                __keyrack_drop
            fi
            (( ! ${#__keyrack_later} )) || __keyrack_restore_later
            # What the line made itself in the place of ours, or nothing, stays.
            for __keyrack_name in $__keyrack_covered; do
                __keyrack_theirs=__keyrack_${__keyrack_name}_theirs
                if (( ! ${+functions[$__keyrack_theirs]} )); then
                    [[ ${functions[$__keyrack_name]-} != *__keyrack_c(overing|hpwd)* ]] || builtin unfunction $__keyrack_name
                else
                    [[ ${functions[$__keyrack_name]-} != *__keyrack_c(overing|hpwd)* ]] || __keyrack_copy $__keyrack_theirs $__keyrack_name
                    builtin unfunction $__keyrack_theirs
                    [[ -z ${chpwd_functions[(re)__keyrack_chpwd_theirs]} ]] || __keyrack_register
                fi
            done
            __keyrack_covered=()
        fi
        if [[ ${precmd_functions[1]-}:${preexec_functions[-1]-}:${chpwd_functions[1]-} != "$__keyrack_places" ]]; then
            __keyrack_register
        fi
    fi
    # Walk upward to the nearest .keyrack.toml. In another worksite, or outside, the
    # values of the last one end, and so does what was said and what failed there.
    __keyrack_pwd=$PWD __keyrack_dir=$PWD
    while [[ $__keyrack_dir == /* && ! -e $__keyrack_dir/.keyrack.toml ]]; do
        __keyrack_dir=${__keyrack_dir%/*}
    done
    if [[ $__keyrack_dir != /* ]]; then
        __keyrack_dir=
        [[ ! -e /.keyrack.toml ]] || __keyrack_dir=/
    fi
    if [[ $__keyrack_dir != "$__keyrack_root" ]]; then
        __keyrack_drop
        [[ -z $__keyrack_shadowing ]] || __keyrack_shadow ""
        __keyrack_root=$__keyrack_dir
        __keyrack_announced=0 __keyrack_failed=0 __keyrack_said= __keyrack_steady=
    fi
    if [[ $__keyrack_held == tree && ${1-} != find ]]; then
        __keyrack_refresh
        (( ! __keyrack_ran )) || __keyrack_take_urg # which the line may have replaced
    fi
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

# The last of all hooks before a command line; there is none for an empty one.
__keyrack_preexec() {
    __keyrack_line=1
    if [[ ${precmd_functions[1]-}:${preexec_functions[-1]-}:${chpwd_functions[1]-} != "$__keyrack_places" ]]; then
        __keyrack_register
    fi
    if [[ $PWD != "$__keyrack_pwd" ]]; then # by a widget, with cd -q
        __keyrack_precmd find
    fi
    if [[ -n $__keyrack_root ]]; then
        if [[ $__keyrack_failed$__keyrack_held == 0 ]] || __keyrack_wanted; then
            __keyrack_ask
        fi
    fi
}

# After cd, pushd, popd and their like; in subshells, functions and completions
# too. Where no command line runs (a widget, a completion) nothing is asked.
__keyrack_chpwd() {
    builtin local "__keyrack_last=$__keyrack_root" "__keyrack_again=$__keyrack_failed"
    __keyrack_failed=0
    __keyrack_precmd find
    if __keyrack_running && [[ -n $__keyrack_root ]]; then
        if (( __keyrack_again )) || [[ $__keyrack_root != "$__keyrack_last" ]]; then
            __keyrack_ask
        fi
    fi
    builtin return 0
}

__keyrack_running() { (( __keyrack_line && ! ${+WIDGET} )) }

# From the URG trap; false: the signal was not for us. At an idle prompt the
# values just go: asking there would renew them for as long as nobody works.
__keyrack_urg() {
    if (( __keyrack_asking )); then # which looks once more when it is done
        builtin return 0
    elif [[ $__keyrack_held != tree ]] || __keyrack_unchanged; then
        builtin return 1
    elif __keyrack_running; then
        __keyrack_ask
    else
        __keyrack_drop
    fi
    builtin return 0
}

# --- The worksite ---------------------------------------------------------

# Is there anything to ask before this command line?
__keyrack_wanted() {
    if (( __keyrack_failed )); then
        builtin local REPLY
        __keyrack_read_generation
        [[ $REPLY != "$__keyrack_generation" ]]
    elif [[ $__keyrack_held == tree ]]; then
        ! { __keyrack_unedited && __keyrack_unchanged }
    fi
}

# "$(<file)" forks nothing in zsh.
__keyrack_read_generation() {
    REPLY=
    if [[ -f $__keyrack_generation_file && -r $__keyrack_generation_file ]]; then
        REPLY="$(<"$__keyrack_generation_file")"
    fi
}

__keyrack_unchanged() {
    builtin local REPLY
    __keyrack_read_generation
    [[ -n $REPLY && $REPLY == "$__keyrack_generation" ]]
}

__keyrack_unedited() {
    builtin local REPLY
    __keyrack_read_file
    [[ $REPLY == "$__keyrack_text" ]]
}

__keyrack_read_file() {
    REPLY=
    if [[ -f $__keyrack_root/.keyrack.toml && -r $__keyrack_root/.keyrack.toml ]]; then
        REPLY="$(<"$__keyrack_root/.keyrack.toml")"
    fi
}

# --- Asking ---------------------------------------------------------------

# __keyrack_ask [TIME]: one answer of the daemon, without a fork, and once more where
# a change overtook tree mode. Nothing is left of an answer that breaks off, also by
# Ctrl-C. Most of all answers are those of the last time but for the values, for
# variables that are all unset, and are taken here: __keyrack_steady is all of it
# before the first variable, __keyrack_same the names, and the bytes from there on.
__keyrack_ask() {
    builtin local __keyrack_status= __keyrack_reply= __keyrack_fd= __keyrack_rc=1 REPLY \
        __keyrack_name __keyrack_value __keyrack_new= __keyrack_plain=
    {
        __keyrack_asking=1
        # Who listens cannot be seen from zsh: that the socket and its directory are of
        # this user and closed to others is what there is, by convention. A connect that
        # waits because the daemon has let its queue fill up ends by Ctrl-C alone.
        if (( __keyrack_sockets == 2 )) || __keyrack_load; then
            __keyrack_seen=(${__keyrack_socket%/*}(N/Uf-77) $__keyrack_socket(N=Uf-77))
            if (( ${#__keyrack_seen} == 2 )) && builtin zsocket "$__keyrack_socket" 2>/dev/null; then
                __keyrack_fd=$REPLY
                REPLY="1${__keyrack_nul}hook$__keyrack_nul$__keyrack_root$__keyrack_nul$sysparams[pid]$__keyrack_nul"
                REPLY="${#REPLY}$__keyrack_newline$REPLY"
                # A daemon that refuses may have closed already, and still be read. The
                # signal for that harms no interactive shell that has a terminal.
                if [[ $ZSH_SUBSHELL != 0 || -z $TTY ]]; then
                    __keyrack_send
                else
                    builtin syswrite -o $__keyrack_fd "$REPLY" || builtin true
                fi
                # While the daemon works. Most of all answers come at once, and as a whole:
                # to sleep and be woken would take as long as a few looks whether it is there.
                [[ -z $__keyrack_steady || -n $__keyrack_held ]] || __keyrack_cover_precmd
                repeat 50; do
                    builtin sysread -t 0 -s 8192 -i $__keyrack_fd __keyrack_reply && builtin break
                done || builtin sysread -t 0.5 -s 8192 -i $__keyrack_fd __keyrack_reply
                __keyrack_rc=$?
                if [[ -n $__keyrack_steady && -z $__keyrack_held && $__keyrack_reply == $__keyrack_steady*$__keyrack_nul ]]; then
                    for __keyrack_name __keyrack_value in "${(@0)__keyrack_reply[${#__keyrack_steady}+1,-2]}"; do
                        __keyrack_new+=" $__keyrack_name${(Pt)__keyrack_name}" __keyrack_plain+="$__keyrack_name=$__keyrack_value$__keyrack_nul"
                    done
                fi
                if [[ -n $__keyrack_new && $__keyrack_new:${#__keyrack_plain} == "$__keyrack_same" ]]; then
                    __keyrack_names=(${(s: :)__keyrack_new}) __keyrack_held=command
                    builtin typeset -gx ${(0)__keyrack_plain} "KEYRACK_EXPORTED=1$__keyrack_new"
                    builtin exec {__keyrack_fd}>&-
                    __keyrack_fd= __keyrack_status=ok
                fi
            fi
        fi
        [[ $__keyrack_status == ok ]] || __keyrack_settle
        [[ $__keyrack_held != command || ${functions[precmd]-} == *__keyrack_covering* ]] || __keyrack_cover_precmd
        if [[ -n $__keyrack_held ]] && (( ${+functions[chpwd]} )); then
            __keyrack_cover_chpwd
        fi
    } always {
        __keyrack_asking=0
        if [[ -z $__keyrack_status ]]; then
            [[ -z $__keyrack_fd ]] || builtin exec {__keyrack_fd}>&-
            __keyrack_drop
            __keyrack_fail ""
        fi
    }
    if [[ $__keyrack_held == tree && ${1-1} -lt 3 ]] && ! __keyrack_unchanged; then
        __keyrack_ask $(( ${1-1} + 1 ))
    fi
}

# There is another answer than the last time, or the rest of it, or none; then the
# client asks, which starts a daemon where there is none, and knows the words for
# what is wrong.
__keyrack_settle() {
    builtin local __keyrack_word= __keyrack_mode= __keyrack_summary= __keyrack_lines= __keyrack_shadowed= __keyrack_named= \
        __keyrack_head=${__keyrack_reply%%$__keyrack_newline*}
    if [[ -n $__keyrack_fd ]]; then
        [[ $__keyrack_head == $(( ${#__keyrack_reply} - ${#__keyrack_head} - 1 )) ]] || __keyrack_receive $__keyrack_rc
        __keyrack_rc=$?
        builtin exec {__keyrack_fd}>&-
        __keyrack_fd=
    fi
    __keyrack_drop
    if (( __keyrack_rc )); then
        __keyrack_by_client
    elif [[ -z $__keyrack_status ]]; then
        __keyrack_take || __keyrack_by_client
    fi
    case $__keyrack_status in
    ("") ;;
    (locked|unavailable|no-rack) __keyrack_fail "$__keyrack_word" ;;
    (*) __keyrack_failed=0 ;;
    esac
    [[ $__keyrack_named == "$__keyrack_shadowing" ]] || __keyrack_shadow "$__keyrack_named"
    (( ! ${#__keyrack_names} )) || __keyrack_hold
    __keyrack_tell
}

# __keyrack_fail GENERATION: ask no more until it changes, or a cd.
__keyrack_fail() {
    builtin local "REPLY=$1"
    [[ -n $REPLY ]] || __keyrack_read_generation
    __keyrack_generation=$REPLY
    __keyrack_failed=1 __keyrack_steady=
}

# Mark what is exported, for shells started from here, and how long it stays.
__keyrack_hold() {
    builtin export "KEYRACK_EXPORTED=1 ${(j: :)__keyrack_names}"
    __keyrack_held=command
    if [[ $__keyrack_mode == tree ]]; then
        builtin local REPLY
        __keyrack_held=tree __keyrack_generation=$__keyrack_word
        __keyrack_read_file
        # A variable of a function stood before one: ask again when that is over.
        __keyrack_text=${__keyrack_shadowed:-$REPLY}
        __keyrack_take_urg
    fi
}

# Lines for people are said once, the summary once for each time of entering;
# not in a subshell, whose visit nobody sees.
__keyrack_tell() {
    if [[ $__keyrack_lines != "$__keyrack_said" ]]; then
        __keyrack_said=$__keyrack_lines
        builtin print -rnu2 -- "$__keyrack_lines"
    fi
    if [[ -n $__keyrack_summary && $ZSH_SUBSHELL$__keyrack_announced == 00 ]]; then
        __keyrack_announced=1
        builtin print -ru2 -- "keyrack: ${__keyrack_summary//$~__keyrack_control/ }"
    fi
}

# The four functions that an answer calls, inside __keyrack_ask.

# A command that mends what the line before it says stands alone, to be pasted.
__keyrack_say() {
    [[ $1 == "keyrack "* ]] || __keyrack_lines+="keyrack: "
    __keyrack_lines+="${1//$~__keyrack_control/ }$__keyrack_newline"
}

__keyrack_end() {
    __keyrack_status=$1 __keyrack_word=$2 __keyrack_mode=$3 __keyrack_summary=$4 __keyrack_steady=
}

__keyrack_commands() { __keyrack_named=$1 }

__keyrack_put() {
    if ! __keyrack_valid "$1"; then
        [[ $__keyrack_lines == *"is left out"* ]] || __keyrack_say "a name that may not be exported is left out"
    elif [[ ${(Pt)1} == *-local* ]]; then
        __keyrack_shadowed=/ # no text of a file
    elif __keyrack_keep "$1"; then
        __keyrack_known[$1]=1
        builtin typeset -gx "$1=$2"
    else
        __keyrack_say "$1 cannot be set in this shell and is left alone"
    fi
}

__keyrack_valid() {
    case $1 in
    (""|[0-9]*|*[^A-Za-z0-9_]*) builtin return 1 ;;
    (LD_*|DYLD_*|KEYRACK_*|__keyrack*|BASH*|ZSH_*|fish_*|__fish*|XDG_*|COMP_*|GIT_CONFIG*) builtin return 1 ;;
    esac
    [[ $__keyrack_refused != *" $1 "* ]]
}

# --- Asking the daemon without a fork ---------------------------------------

__keyrack_send() {
    builtin setopt local_options local_traps
    builtin trap "" PIPE
    builtin syswrite -o $__keyrack_fd "$REPLY" || builtin true
}

# __keyrack_receive STATUS: the rest of one frame (its length in decimal, a
# newline, the payload), for 1.8 seconds in all. STATUS is of the first read. False
# where nothing came: the daemon is on its way out.
__keyrack_receive() {
    builtin setopt local_options local_traps
    builtin trap - INT # the trap of the person does not know what is broken off here
    builtin local __keyrack_chunk __keyrack_slow=0 __keyrack_rc=$1
    builtin local -F __keyrack_wait "__keyrack_until=$(( EPOCHREALTIME + ($1 == 4 ? 1.3 : 1.8) ))"
    builtin local -i __keyrack_size=11 # no head is longer
    [[ -z $__keyrack_reply ]] || __keyrack_rc=0
    __keyrack_head=
    while builtin true; do
        case $__keyrack_rc in
        (0)
            if [[ -z $__keyrack_head && $__keyrack_reply == *$__keyrack_newline* ]]; then
                __keyrack_head=${__keyrack_reply%%$__keyrack_newline*}
                [[ $__keyrack_head == [1-9]* && $__keyrack_head == <1-8388608> ]] || builtin break
                __keyrack_size=$(( ${#__keyrack_head} + 1 + __keyrack_head ))
            fi
            (( ${#__keyrack_reply} < __keyrack_size )) || builtin break
            ;;
        (4)
            if (( __keyrack_slow )); then
                __keyrack_refuse "the daemon does not answer"
                builtin return 0
            fi
            __keyrack_slow=1
            builtin print -ru2 "keyrack: waiting for the daemon (Ctrl-C gives up)"
            ;;
        (*)
            [[ -n $__keyrack_reply ]] || builtin return 1
            builtin break
            ;;
        esac
        __keyrack_wait=$(( __keyrack_until - EPOCHREALTIME ))
        (( __keyrack_wait < 2 )) || __keyrack_wait=2 # the clock was put back
        if (( __keyrack_wait <= 0 )); then
            __keyrack_slow=1 __keyrack_rc=4
            builtin continue
        fi
        (( __keyrack_slow || __keyrack_wait < 0.5 )) || __keyrack_wait=0.5
        builtin sysread -t $__keyrack_wait -s 262144 -i $__keyrack_fd __keyrack_chunk && __keyrack_rc=0 || __keyrack_rc=$?
        (( __keyrack_rc )) || __keyrack_reply+=$__keyrack_chunk
    done
    [[ $__keyrack_head == [1-9]* && ${#__keyrack_reply} -eq $__keyrack_size ]] || __keyrack_refuse "the daemon sent a malformed answer"
}

# There is no answer to use; this is why.
__keyrack_refuse() {
    __keyrack_say "$1"
    __keyrack_end unavailable "" "" ""
}

# The modules are loaded at the first question, not at the start of each shell.
__keyrack_load() {
    (( __keyrack_sockets )) || builtin return 1
    {
        builtin zmodload -F zsh/datetime p:EPOCHREALTIME &&
            builtin zmodload -F zsh/system b:sysread b:syswrite p:sysparams &&
            builtin zmodload zsh/net/socket
    } 2>/dev/null && __keyrack_sockets=2 || __keyrack_sockets=0
    (( __keyrack_sockets ))
}

# __keyrack_take: the answer, version, status, generation, mode, summary, commands,
# number of lines, lines, and a name and a value for each variable; or version, status,
# message, hint. False where the daemon speaks another version.
__keyrack_take() {
    builtin local __keyrack_odd= __keyrack_count=0
    builtin local -a __keyrack_fields
    __keyrack_new= __keyrack_plain= __keyrack_steady=
    if [[ $__keyrack_reply == *$__keyrack_nul ]]; then
        __keyrack_fields=("${(@0)__keyrack_reply[${#__keyrack_head}+2,-2]}")
    fi
    __keyrack_reply= __keyrack_count=${__keyrack_fields[7]-}
    if [[ ${__keyrack_fields[1]-} != (1|) ]]; then
        builtin return 1
    elif (( ${#__keyrack_fields} == 4 )) && [[ $__keyrack_fields[2] != (ok|) ]]; then
        for __keyrack_value in "${(@)__keyrack_fields[3,4]}"; do
            [[ -z $__keyrack_value ]] || __keyrack_say "$__keyrack_value"
        done
        __keyrack_end "$__keyrack_fields[2]" "" "" ""
        builtin return 0
    elif ! [[ $__keyrack_fields[2] == ?* && $__keyrack_fields[4] == (|command|tree) && $__keyrack_count == (0|[1-9]<0-999>|[1-9]) ]] ||
        (( __keyrack_count + 7 > ${#__keyrack_fields} || (__keyrack_count + ${#__keyrack_fields}) % 2 == 0 )); then
        __keyrack_refuse "the daemon sent a malformed grant"
        builtin return 0
    fi
    for __keyrack_name __keyrack_value in "${(@)__keyrack_fields[8 + __keyrack_count,-1]}"; do
        if [[ -z ${(Pt)__keyrack_name} && -n ${__keyrack_known[$__keyrack_name]-} ]]; then
            __keyrack_new+=" $__keyrack_name"
            __keyrack_plain+="$__keyrack_name=$__keyrack_value$__keyrack_nul"
        else
            __keyrack_odd+="$__keyrack_name$__keyrack_nul$__keyrack_value$__keyrack_nul"
        fi
    done
    if [[ $__keyrack_nul$__keyrack_odd == *$__keyrack_nul$__keyrack_nul* ]] && ! __keyrack_are_named; then
        __keyrack_refuse "the daemon sent a malformed grant"
        builtin return 0
    fi
    for __keyrack_name __keyrack_value in ${__keyrack_odd:+"${(@0)__keyrack_odd[1,-2]}"}; do
        __keyrack_put "$__keyrack_name" "$__keyrack_value"
    done
    if [[ -n $__keyrack_new ]]; then
        __keyrack_names+=(${(s: :)__keyrack_new})
        builtin typeset -gx ${(0)__keyrack_plain}
    fi
    for __keyrack_value in "${(@)__keyrack_fields[8,7 + __keyrack_count]}"; do
        __keyrack_say "$__keyrack_value"
    done
    __keyrack_status=$__keyrack_fields[2] __keyrack_word=$__keyrack_fields[3]
    __keyrack_mode=$__keyrack_fields[4] __keyrack_summary=$__keyrack_fields[5] __keyrack_named=$__keyrack_fields[6]
    if [[ $__keyrack_count$__keyrack_mode == 0command ]]; then
        __keyrack_steady="$__keyrack_head$__keyrack_newline${(pj:\0:)__keyrack_fields[1,7]}$__keyrack_nul"
        __keyrack_same=" ${(j: :)__keyrack_names}:$(( __keyrack_head + ${#__keyrack_head} + 1 - ${#__keyrack_steady} ))"
    fi
}

__keyrack_are_named() {
    for __keyrack_name __keyrack_value in "${(@0)__keyrack_odd[1,-2]}"; do
        [[ -n $__keyrack_name ]] || builtin return 1
    done
}

# --- Asking by the client -----------------------------------------------------

__keyrack_by_client() {
    builtin local __keyrack_code
    if [[ ! -x $__keyrack_bin ]]; then
        __keyrack_refuse "$__keyrack_bin is gone, start a new shell once keyrack is installed again"
        builtin return 0
    fi
    __keyrack_run_client
    builtin eval "$__keyrack_code"
}

__keyrack_run_client() {
    builtin setopt local_options local_traps
    builtin trap - INT # the trap of the person does not know what is broken off here
    __keyrack_code="$(builtin exec "$__keyrack_bin" __hook zsh "$__keyrack_root" "${sysparams[pid]:-$$}")"
}

# --- Commands that have secrets of their own ----------------------------------

# __keyrack_shadow NAMES: functions in the place of commands, in that of the last
# ones. By them a command gets the secrets that are for it, which never enter this
# shell: "keyrack exec" sees all of its words. Those that start another command are
# among them. What is a function of the person stays one.
__keyrack_shadow() {
    builtin local __keyrack_name
    for __keyrack_name in $__keyrack_shadows; do
        [[ ${functions[$__keyrack_name]-} != *__keyrack_exec* ]] || builtin unfunction $__keyrack_name
    done
    __keyrack_shadows=() __keyrack_shadowing=$1
    for __keyrack_name in ${(s: :)1} ${(s: :)${1:+$__keyrack_wrappers}}; do
        if [[ $__keyrack_name != [A-Za-z0-9_]* || $__keyrack_name == *[^A-Za-z0-9._+-]* ]]; then
            builtin continue
        elif (( ${+functions[$__keyrack_name]} )); then
            __keyrack_say "$__keyrack_name is a function here, which gets no secret that is for it: keyrack exec -- $__keyrack_name"
        elif (( ! ${+builtins[$__keyrack_name]} )) && [[ -z ${reswords[(re)$__keyrack_name]} ]]; then
            functions[$__keyrack_name]="__keyrack_exec $__keyrack_name \"\$@\""
            __keyrack_shadows+=($__keyrack_name)
        fi
    done
}

# At the prompt, for what shows it or completes, a command is only itself.
__keyrack_exec() {
    if __keyrack_running && [[ -x ${__keyrack_bin%/*}/keyrack ]]; then
        "${__keyrack_bin%/*}/keyrack" exec --from-hook -- "$@"
    else
        command "$@"
    fi
}

# --- What was there before ------------------------------------------------

# __keyrack_keep NAME: remember what it is, a type and a value for
# __keyrack_restore, and unset it. False where it may not be changed, or where
# zsh does not tell all of what it is.
__keyrack_keep() {
    builtin local __keyrack_type=${(Pt)1} __keyrack_value=
    builtin local -a __keyrack_items
    [[ -z ${__keyrack_names[(re)$1]} ]] || builtin return 0
    if (( ${+__keyrack_later[$1]} )); then
        __keyrack_was[$1]=$__keyrack_later[$1]
        builtin unset "__keyrack_later[$1]"
    elif [[ -n $__keyrack_type ]]; then
        case ${__keyrack_type//-(export|lower|upper|unique|tag)/} in
        (scalar|integer) __keyrack_value=${(P)1} ;;
        (array) __keyrack_items=("${(@P)1}") ;;
        (association) __keyrack_items=("${(@kvP)1}") ;;
        (*) builtin return 1 ;;
        esac
        __keyrack_was[$1]="$__keyrack_type $__keyrack_value${(j: :)${(@qq)__keyrack_items}}"
        builtin unset "$1"
    fi
    __keyrack_names+=("$1")
}

__keyrack_drop() {
    __keyrack_held= __keyrack_text=
    (( ${#__keyrack_names} )) || builtin return 0
    builtin local __keyrack_name
    for __keyrack_name in $__keyrack_names; do
        if [[ ${(Pt)__keyrack_name} == scalar-export && -z ${__keyrack_was[$__keyrack_name]-} ]]; then
            builtin unset $__keyrack_name
        else
            __keyrack_restore $__keyrack_name "${__keyrack_was[$__keyrack_name]-unset}"
        fi
    done
    builtin unset KEYRACK_EXPORTED
    __keyrack_names=() __keyrack_was=()
    (( ! ${#__keyrack_later} )) || __keyrack_watch
}

# __keyrack_restore NAME "TYPE VALUE". A local variable of a function that still
# runs hides the one that is meant, which zsh lets nobody reach: later.
__keyrack_restore() {
    builtin local __keyrack_type=${2%% *} __keyrack_flags=-g
    case ${(Pt)1} in
    (*-local*)
        __keyrack_later[$1]=$2
        builtin return 0
        ;;
    (*-readonly*) builtin typeset -g +r "$1" ;; # the person made it that
    esac
    builtin unset "$1"
    [[ $__keyrack_type != *-export* ]] || __keyrack_flags+=x
    [[ $__keyrack_type != *-lower* ]] || __keyrack_flags+=l
    [[ $__keyrack_type != *-upper* ]] || __keyrack_flags+=u
    [[ $__keyrack_type != *-unique* ]] || __keyrack_flags+=U
    [[ $__keyrack_type != *-tag* ]] || __keyrack_flags+=t
    case $__keyrack_type in
    (scalar*) builtin typeset $__keyrack_flags "$1=${2#* }" ;;
    (integer*) builtin typeset ${__keyrack_flags}i "$1=${2#* }" ;; # in its base
    (array*)
        builtin typeset ${__keyrack_flags}a "$1"
        builtin eval "builtin set -A $1 ${2#* }"
        ;;
    (association*)
        builtin typeset ${__keyrack_flags}A "$1"
        builtin eval "builtin set -A $1 ${2#* }"
        ;;
    esac
}

__keyrack_restore_later() {
    builtin local __keyrack_name __keyrack_what
    for __keyrack_name in "${(@k)__keyrack_later}"; do
        __keyrack_what=$__keyrack_later[$__keyrack_name]
        builtin unset "__keyrack_later[$__keyrack_name]"
        __keyrack_restore "$__keyrack_name" "$__keyrack_what"
    done
}

# Restore as soon as the function is over: before the next list, by a DEBUG
# trap, unless the person has one; then at the prompt.
__keyrack_watch() {
    builtin local REPLY
    (( ! ${+functions[TRAPDEBUG]} )) && ! __keyrack_find_trap DEBUG || builtin return 0
    builtin eval "TRAPDEBUG() {
        __keyrack_restore_later
        (( \${#__keyrack_later} )) || builtin unfunction TRAPDEBUG
    }"
}

# --- In place, and kept in place --------------------------------------------

# First at the prompt and after a cd, last before a line: what others run there
# has no secret, or not those of the last worksite.
__keyrack_register() {
    builtin local __keyrack_name
    for __keyrack_name in precmd_functions preexec_functions chpwd_functions; do
        if [[ ${(Pt)__keyrack_name} != array* ]]; then
            (( ${(P)+__keyrack_name} )) || __keyrack_made+=($__keyrack_name)
            builtin typeset -ga $__keyrack_name
        fi
    done
    __keyrack_unlist
    precmd_functions=(__keyrack_precmd "${(@)precmd_functions}")
    preexec_functions+=(__keyrack_preexec)
    chpwd_functions=(__keyrack_chpwd "${(@)chpwd_functions}")
    if (( ${+functions[__keyrack_chpwd_theirs]} )); then
        chpwd_functions[1]=(__keyrack_chpwd __keyrack_chpwd_theirs)
    fi
}

__keyrack_unlist() {
    if [[ -n $__keyrack_first ]]; then
        precmd_functions=("${(@)precmd_functions:#precmd}")
        __keyrack_first=
    fi
    precmd_functions=("${(@)precmd_functions:#__keyrack_precmd}")
    preexec_functions=("${(@)preexec_functions:#__keyrack_preexec}")
    chpwd_functions=("${(@)chpwd_functions:#__keyrack_chpwd(|_theirs)}")
}

# A function of the person called precmd or chpwd would come before all hooks,
# with the secrets still there, and a line may empty precmd_functions. So for the
# time of a line that has secrets (in tree mode, of the values) both are ours;
# theirs runs behind it, from the array, so that it has its own options, $? and
# pipestatus. On entering a worksite theirs has been before us, without values.
__keyrack_covering() {
    __keyrack_precmd
    if (( ${+functions[precmd]} )); then
        precmd_functions=(precmd "${(@)precmd_functions}")
        __keyrack_first=1
    fi
}

__keyrack_cover_precmd() {
    if (( ! ${+functions[precmd]} )) || __keyrack_copy precmd __keyrack_precmd_theirs; then
        __keyrack_covered+=(precmd)
        builtin eval "precmd() { __keyrack_covering }"
    fi
}

__keyrack_cover_chpwd() {
    [[ $functions[chpwd] != *__keyrack_chpwd* ]] || builtin return 0
    __keyrack_copy chpwd __keyrack_chpwd_theirs || builtin return 0
    __keyrack_covered+=(chpwd)
    builtin eval "chpwd() { __keyrack_chpwd }"
    __keyrack_register
}

# A function that is made here any other way keeps the options of this script.
# False before zsh 5.8; there their precmd and chpwd come before the hook.
__keyrack_copy() { builtin functions -c $1 $2 2>/dev/null }

# --- Traps ----------------------------------------------------------------

# In tree mode ours runs in the place of the trap that the person has for
# SIGURG, which runs where the signal was not for us. It is no function, so that
# theirs has their options.
__keyrack_take_urg() {
    builtin local REPLY= __keyrack_theirs=
    builtin local -a __keyrack_was_urg
    (( ! ZSH_SUBSHELL )) || builtin return 0
    if (( ${+functions[TRAPURG]} )); then
        __keyrack_copy TRAPURG __keyrack_urg_theirs || functions[__keyrack_urg_theirs]=$functions[TRAPURG]
        __keyrack_theirs="__keyrack_urg_theirs $(( ${signals[(i)URG]} - 1 ))"
    elif __keyrack_find_trap URG; then
        [[ $REPLY != *__keyrack_urg* ]] || builtin return 0
        __keyrack_theirs=$REPLY __keyrack_was_urg=("$REPLY")
    fi
    if [[ $__keyrack_theirs != *__keyrack_urg_theirs* ]] && (( ${+functions[__keyrack_urg_theirs]} )); then
        builtin unfunction __keyrack_urg_theirs
    fi
    __keyrack_urg_was=("${(@)__keyrack_was_urg}")
    builtin trap -- "__keyrack_urg || {
$__keyrack_theirs
builtin true
}" URG
}

__keyrack_give_urg() {
    builtin local REPLY=
    __keyrack_find_trap URG && [[ $REPLY == *__keyrack_urg* ]] || builtin return 0
    builtin trap - URG
    if (( ${+functions[__keyrack_urg_theirs]} )); then
        functions[TRAPURG]=$functions[__keyrack_urg_theirs] # sets the trap, which "functions -c" does not
        __keyrack_copy __keyrack_urg_theirs TRAPURG
    elif (( ${#__keyrack_urg_was} )); then # perhaps of nothing, to ignore it
        builtin trap -- "$__keyrack_urg_was[1]" URG
    fi
}

# __keyrack_find_trap SIGNAL: REPLY is the action of a trap that is no function.
# Only "trap" tells, and only on a terminal or into a file.
__keyrack_find_trap() {
    builtin local "__keyrack_file=${__keyrack_socket%/*}/trap-${sysparams[pid]:-$$}"
    builtin local -a __keyrack_words
    builtin local -i __keyrack_at
    REPLY=
    {
        if builtin zmodload -F zsh/files b:zf_rm; then
            builtin trap >|"$__keyrack_file" && REPLY="$(<"$__keyrack_file")"
            builtin zf_rm -f "$__keyrack_file"
        fi
    } 2>/dev/null
    __keyrack_words=("${(@z)REPLY}")
    REPLY=
    for (( __keyrack_at = ${#__keyrack_words}; __keyrack_at > 3; __keyrack_at-- )); do
        if [[ "${(j: :)__keyrack_words[__keyrack_at - 3,__keyrack_at - 2]} $__keyrack_words[__keyrack_at]" == "trap -- $1" ]]; then
            REPLY=${(Q)__keyrack_words[__keyrack_at - 1]}
            builtin return 0
        fi
    done
    builtin return 1
}

# --- On and off ---------------------------------------------------------------

# __keyrack_off again: the script is being read once more; the prelude stays, and
# what is known of this line and this worksite.
__keyrack_off() {
    builtin local __keyrack_name "__keyrack_was_line=$__keyrack_line"
    __keyrack_drop
    __keyrack_shadow ""
    __keyrack_precmd
    __keyrack_line=$__keyrack_was_line
    (( ! ${+functions[TRAPDEBUG]} )) || [[ $functions[TRAPDEBUG] != *__keyrack_* ]] || builtin unfunction TRAPDEBUG
    __keyrack_give_urg
    __keyrack_unlist
    for __keyrack_name in $__keyrack_made; do
        (( ${#${(P)__keyrack_name}} )) || builtin unset $__keyrack_name
    done
    for __keyrack_name in ${(k)parameters[(I)__keyrack_*]}; do
        case ${1-}:$__keyrack_name in
        (*:__keyrack_name|again:__keyrack_(bin|socket|generation_file|use_client|line|root|announced|said)) ;;
        (*) builtin unset $__keyrack_name ;;
        esac
    done
    builtin unfunction -m "__keyrack_*"
}

__keyrack_begin() {
    builtin typeset -g +x __keyrack_bin __keyrack_socket __keyrack_generation_file
    builtin typeset -g __keyrack_root="${__keyrack_root-}" __keyrack_said="${__keyrack_said-}"
    builtin typeset -gi __keyrack_line="${__keyrack_line-0}" __keyrack_announced="${__keyrack_announced-0}"
    builtin typeset -g __keyrack_held= __keyrack_text= __keyrack_generation= __keyrack_first= __keyrack_steady= __keyrack_same=
    builtin typeset -gi __keyrack_ran=0 __keyrack_failed=0 __keyrack_asking=0 __keyrack_sockets=1
    builtin typeset -g __keyrack_pwd= __keyrack_dir= __keyrack_places=__keyrack_precmd:__keyrack_preexec:__keyrack_chpwd
    builtin typeset -g __keyrack_shadowing= __keyrack_wrappers="doas env ionice nice nohup setsid stdbuf sudo timeout xargs"
    builtin typeset -ga __keyrack_shadows __keyrack_names __keyrack_seen __keyrack_made __keyrack_covered __keyrack_urg_was
    builtin typeset -gA __keyrack_was __keyrack_later __keyrack_known
    builtin typeset -g __keyrack_nul="${(#):-0}" __keyrack_newline="${(#):-10}"
    builtin typeset -g __keyrack_control="[${(#):-1}-${(#):-31}${(#):-127}]"
    # A path that zsocket would cut or that is not plain is for the client.
    if [[ -n ${__keyrack_use_client-} || $__keyrack_socket == *[^\ -~]* ]] || (( ${#__keyrack_socket} > 103 )); then
        __keyrack_sockets=0
    fi
    builtin typeset -g __keyrack_refused=" _ PATH HOME IFS SHELL ENV PWD OLDPWD CDPATH PROMPT_COMMAND PROMPT RPROMPT PS0 PS1 PS2 PS3 PS4 \
 SHELLOPTS FPATH ZDOTDIR FIGNORE GLOBIGNORE HISTFILE HISTCMD INPUTRC TMOUT OPTARG OPTIND REPLY FUNCNEST \
 UID EUID PPID path fpath cdpath prompt status argv pipestatus version GCONV_PATH LOCPATH \
 NLSPATH HOSTALIASES RESOLV_HOST_CONF GETCONF_DIR MALLOC_TRACE TMPDIR NODE_OPTIONS NODE_PATH \
 PYTHONSTARTUP PYTHONPATH PYTHONHOME PERL5LIB PERL5OPT PERL5DB RUBYLIB RUBYOPT JAVA_TOOL_OPTIONS \
 _JAVA_OPTIONS JDK_JAVA_OPTIONS GIT_SSH GIT_SSH_COMMAND GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_ASKPASS GIT_PAGER GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_PROXY_COMMAND SSH_ASKPASS SUDO_ASKPASS LESSOPEN LESSCLOSE MANPAGER EDITOR VISUAL \
 PAGER BROWSER "
}

# Secrets that the shell was started with belong to the line that started it.
__keyrack_forget_inherited() {
    builtin local __keyrack_name
    for __keyrack_name in ${${(s: :)KEYRACK_EXPORTED}[2,-1]}; do
        if __keyrack_valid "$__keyrack_name" && [[ ${(Pt)__keyrack_name} != *-(special|readonly)* ]]; then
            builtin unset $__keyrack_name
        fi
    done
    builtin unset KEYRACK_EXPORTED
}

__keyrack_begin
(( ! ${+KEYRACK_EXPORTED} )) || __keyrack_forget_inherited
__keyrack_register
(( ! __keyrack_line )) || __keyrack_preexec

else
builtin unset __keyrack_bin __keyrack_socket __keyrack_generation_file __keyrack_use_client
fi
'
