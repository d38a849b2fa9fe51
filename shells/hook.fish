# keyrack's hook for fish 3 and 4: the secrets of a worksite are exported while a
# command line runs inside it, and at no other time.
#
# Assignments of __keyrack_bin, __keyrack_socket and __keyrack_generation_file
# stand before this file.

function __keyrack_off
    set -eg __keyrack_bin __keyrack_socket __keyrack_generation_file
    functions -e __keyrack_off
end
status is-interactive; or __keyrack_off
