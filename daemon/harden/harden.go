// Package harden closes a process to the other processes of its user: they can't
// read its memory, environment or descriptors, not even while it starts, and no
// crash leaves a core or a trace. It knows no secret, and it does not decide what
// to do where the kernel refuses: it says what is not in force, in words for a
// person.
//
// A process calls Close first. Where that says so it calls Again, which runs the
// program a second time from a copy that nobody can read, in a session keyring of
// its own, and there Close once more. Filter comes last, when nothing has to be
// started any more that it would hinder.
//
// Confine is the other way round: it keeps a program that is not trusted, which this
// process becomes, from all other processes of the user.
//
// It is no defence against who could already act as the user before the daemon
// started: such a process may start another program in its place.
package harden

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// State is how Close found the process. Where First is set, this is the process
// that a person or a client started: the caller calls Again. Program is the path
// of the program, which the second process can't find out. Keyring is the number of
// the session keyring that no other process has, or why there is none. Weak says what is not in force, one line each.
type State struct {
	First   bool
	Program string
	Keyring string
	Weak    []string
}

// The environment of the second process: againVariable holds "sealed" or why it is
// not, programVariable the path of the program, keyringVariable State.Keyring.
const (
	againVariable   = "KEYRACK_AGAIN"
	programVariable = "KEYRACK_PROGRAM"
	keyringVariable = "KEYRACK_KEYRING"
	sealed          = "sealed"
)

// ErrTraced says that another process is debugging this one.
var ErrTraced = errors.New("it is being traced")

// Close makes this process undumpable, its crashes silent, and refuses to go on
// where a debugger holds it. It takes what Again left in the environment out of
// it.
func Close() (State, error) {
	unreadable, err := shut()
	if err != nil {
		return State{}, err
	}
	again, program, keyring := os.Getenv(againVariable), os.Getenv(programVariable), os.Getenv(keyringVariable)
	for _, variable := range []string{againVariable, programVariable, keyringVariable} {
		os.Unsetenv(variable)
	}
	if again == "" {
		program, err = os.Executable()
		return State{First: true, Program: program}, err
	}
	if err := errors.Join(Mute(), unheard()); err != nil {
		return State{}, err
	}
	s := State{Program: program, Keyring: keyring}
	switch {
	case unreadable:
		name()
	case again == sealed:
		s.Weak = []string{"an unreadable start: the kernel let others read this process"}
	default:
		s.Weak = []string{"an unreadable start: " + again}
	}
	return s, nil
}

// Mute lets a crash say nothing: a Go program that dies writes to descriptor 2 the
// stacks of its goroutines, GOTRACEBACK or not, and what it panicked with.
// os.Stderr stays what it was, under another number.
func Mute() error {
	null, err := unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("muting crashes: %w", err)
	}
	defer unix.Close(null)
	kept, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = replace(null, 2)
	}
	if err != nil {
		return fmt.Errorf("muting crashes: %w", err)
	}
	os.Stderr = os.NewFile(uintptr(kept), "stderr")
	return nil
}

// Again runs the program again, with the arguments and environment given, from a
// copy that can be executed and not read, or where the kernel refuses that, from
// its own file. With files it is a child with these descriptors, which nobody
// waits for. Without, it takes the place of this process, and Again returns only
// an error.
func Again(program string, args, environ []string, files []*os.File) error {
	// Credentials, and with them keyrings, are a thread's. It ends with this goroutine,
	// or goes on as the second process.
	runtime.LockOSThread()
	// No signal preempts a goroutine that is copying a value: see unheard.
	environ = append(environ, programVariable+"="+program, keyringVariable+"="+ownKeyring(), "GOTRACEBACK=none", "GODEBUG=asyncpreemptoff=1")
	why := runCopy(args, append(environ, againVariable+"="+sealed), files)
	if why == nil {
		return nil
	}
	return run(Self(), args, append(environ, againVariable+"="+why.Error()), files)
}

func startChild(path string, args, environ []string, files []*os.File) error {
	process, err := os.StartProcess(path, args, &os.ProcAttr{Env: environ, Files: files})
	if err != nil {
		return err
	}
	return process.Release()
}
