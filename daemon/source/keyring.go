package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Where the OS keyring has the rack's key. One user has one such item: racks in
// several directories share it.
const (
	service = "keyrack"
	account = "rack-key-v1"
)

// KeyringItem names that item for people.
const KeyringItem = "service " + service + ", account " + account

// errNoItem says that the keyring answers and has no key.
var errNoItem = errors.New("it has no item of " + KeyringItem)

// keyring is the OS keyring, asked by a child process that runs program. Its
// library waits for a person without a limit and can't be told to stop; a process
// can be killed.
type keyring struct{ program string }

// The limits of one question to the keyring: without a person who could answer a
// prompt, and with one.
const (
	aloneTime  = time.Second
	personTime = time.Minute
	graceTime  = 5 * time.Second // for the child to start and to end
)

// KeyringReachable says whether there is an OS keyring that could be asked. It
// asks for nothing that is in it, so that no person is prompted.
func KeyringReachable(ctx context.Context, program string) error {
	_, err := keyring{program}.ask(ctx, "probe", nil)
	return err
}

// get returns the key, errNoItem where the keyring has none.
func (k keyring) get(ctx context.Context) ([]byte, error) {
	key, err := k.ask(ctx, "get", nil)
	if err != nil {
		return nil, err
	}
	return checkItem(key)
}

// checkItem refuses what another program put in the key's place.
func checkItem(key []byte) ([]byte, error) {
	if _, err := identityOf(key); err != nil {
		clear(key)
		return nil, fmt.Errorf("%w: its item of %s holds something else than a rack's key: move it away", ErrKeyring, KeyringItem)
	}
	return key, nil
}

// set stores the key and reads it back.
func (k keyring) set(ctx context.Context, key []byte) error {
	_, err := k.ask(ctx, "set", key)
	return err
}

func (k keyring) remove(ctx context.Context) error {
	_, err := k.ask(ctx, "delete", nil)
	return err
}

// maxItem bounds what the keyring may answer.
const maxItem = 4 << 10

// ask runs the child for one question and returns its answer. When it returns the
// child and all that it started are gone.
func (k keyring) ask(ctx context.Context, verb string, input []byte) ([]byte, error) {
	environ, err := keyringEnvironment()
	if err != nil {
		return nil, err
	}
	limit := askTime()
	within, cancel := context.WithTimeout(ctx, limit+graceTime)
	defer cancel()
	cmd := exec.Command(k.program, "__keyring", verb, limit.String())
	cmd.Dir, cmd.Env = "/", environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said := &firstBytes{}
	cmd.Stderr = said
	cmd.WaitDelay = time.Second
	answer, err := converse(within, cmd, input)
	if err == nil {
		return answer, nil
	}
	clear(answer)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("asking the OS keyring: %w", ctx.Err())
	}
	return nil, keyringError(err, limit, said.line())
}

func keyringError(err error, limit time.Duration, said string) error {
	exit, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case ran && exit.ExitCode() == childNoItem:
		return errNoItem
	case ran && exit.ExitCode() == childFailed:
		return fmt.Errorf("%w: %s", ErrKeyring, said)
	case ran: // the child's own limit, or ours
		return slowKeyring(limit)
	}
	return fmt.Errorf("%w can't be asked: %w", ErrKeyring, err)
}

func slowKeyring(limit time.Duration) error {
	return fmt.Errorf("%w does not answer within %s: it may wait for a person to unlock it", ErrKeyring, limit)
}

// converse starts cmd, writes input and a newline where there is input, and reads
// the answer. Standard input stays open until the child has answered: its end
// tells the child that this process is gone.
func converse(ctx context.Context, cmd *exec.Cmd, input []byte) ([]byte, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, err
	}
	kill := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if input != nil {
		stdin.Write(input) // a child that is gone says why when it is waited for
		stdin.Write([]byte("\n"))
	}
	answer := make([]byte, maxItem)
	n, err := io.ReadFull(r, answer)
	kill() // before Wait, while the process group is surely the child's
	ended := cmd.Wait()
	if err == nil {
		ended = errors.New("its answer is too long")
	}
	if ended != nil {
		clear(answer)
		return nil, ended
	}
	return answer[:n], nil
}

// askTime is how long the keyring may take.
func askTime() time.Duration {
	if personHere() {
		return personTime
	}
	return aloneTime
}

// firstBytes keeps the beginning of what a process says.
type firstBytes struct{ text []byte }

func (f *firstBytes) Write(text []byte) (int, error) {
	f.text = append(f.text, text[:min(len(text), 400-len(f.text))]...)
	return len(text), nil
}

// line is the first line, fit for a person's terminal.
func (f *firstBytes) line() string {
	line := oneLine(f.text)
	if line == "" {
		return "it failed without a word"
	}
	return line
}

// oneLine is the first line of a text, without what moves a terminal's cursor.
func oneLine(text []byte) string {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return -1
		}
		return r
	}, string(first))
}
