# keyrack's hook for zsh 5: the secrets of a worksite are exported while a
# command line runs inside it, and at no other time.
#
# Assignments of __keyrack_bin, __keyrack_socket and __keyrack_generation_file
# stand before this file.

'builtin' 'emulate' 'zsh' '-o' 'no_aliases' '-c' '
# Take the hook out.
__keyrack_off() {
    unset -m "__keyrack_*"
    unset -fm "__keyrack_*"
}
[[ -o interactive ]] || __keyrack_off
'
