// Package client is the one program that a shell starts before a command line, where
// it can't ask by itself: it asks the daemon for a worksite's secrets and writes what
// they change as shell code. It has no other use, and it links as little as possible,
// because what a program links is initialised at every start.
package client

import (
	"os"
	"strconv"
	"time"

	"keyrack/daemon/wire"
	"keyrack/hook"
	"keyrack/shells"
)

// patience bounds what a run waits, so that a shell has its prompt back within 2 s
// with all that it does besides.
const patience = 1800 * time.Millisecond

// Run serves `__hook SHELL ROOT PID`, args being what follows __hook. It
// asks for the worksite at ROOT on behalf of the shell with the process id PID,
// starting keyrack's daemon with the program keyrack where none runs, and writes
// the change in SHELL's language to standard output. The result is the exit code.
func Run(keyrack string, args []string) int {
	shell, ok := parse(args)
	if !ok {
		os.Stderr.WriteString("keyrack: the hook calls this itself: keyrack hook SHELL\n")
		return 2
	}
	grant, err := ask(keyrack, args[1], args[2])
	code := shell.Render(hook.Change(grant, err))
	_, err = os.Stdout.Write(code)
	clear(code)
	if grant != nil {
		grant.Wipe()
	}
	if err != nil {
		return 1
	}
	return 0
}

func parse(args []string) (shell shells.Shell, ok bool) {
	if len(args) != 3 {
		return "", false
	}
	shell, err := shells.Parse(args[0])
	if err != nil {
		return "", false
	}
	pid, err := strconv.Atoi(args[2])
	return shell, err == nil && pid > 1
}

func ask(keyrack, root, pid string) (*wire.Grant, error) {
	place, err := wire.FindPlace()
	if err != nil {
		return nil, err
	}
	answer, err := wire.CallOrStart(place, keyrack, patience, waiting, []byte(wire.VerbHook), []byte(root), []byte(pid))
	if err != nil {
		return nil, err
	}
	return wire.ParseGrant(answer)
}

func waiting() { os.Stderr.WriteString("keyrack: waiting for the daemon (Ctrl-C gives up)\n") }
