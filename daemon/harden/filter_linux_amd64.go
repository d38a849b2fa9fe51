package harden

import "golang.org/x/sys/unix"

const (
	auditArch  = unix.AUDIT_ARCH_X86_64
	endOfCalls = 0x40000000 // from here on the calls of x32, the same under other numbers
)
