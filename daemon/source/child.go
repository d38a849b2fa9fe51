package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	keyrings "github.com/zalando/go-keyring"
)

// The exit codes of the child.
const (
	childFailed = 1
	childNoItem = 3
	childGaveUp = 4 // the limit, or the parent's end
)

// KeyringChild is the process that asks the OS keyring: `keyrack __keyring VERB
// LIMIT`, args being VERB and LIMIT. `get` writes the key to stdout, `set` takes
// one line of stdin and reads back what it stored, `delete` removes the item,
// `probe` asks for nothing that is kept. It gives up after LIMIT, and when stdin
// ends, which means that its parent is gone; what the libraries started then is
// the parent's to kill, or gone with it. The result is the exit code.
func KeyringChild(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	limit, verb, err := childArgs(args)
	if err == nil {
		_, err = keyringEnvironment() // so that the library starts no D-Bus, whoever calls this
	}
	if err == nil {
		err = undumpable()
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return childFailed
	}
	input := bufio.NewReader(stdin)
	var key string
	if verb == "set" {
		line, err := input.ReadSlice('\n')
		if err != nil {
			return childGaveUp
		}
		key = string(line[:len(line)-1])
	}
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, input)
		close(gone)
	}()
	select {
	case r := <-askKeyring(func() (string, error) { return childAnswer(verb, key) }):
		return childReport(r.answer, r.err, stdout, stderr)
	case <-time.After(limit):
	case <-gone:
	}
	endGroup()
	return childGaveUp
}

func childArgs(args []string) (limit time.Duration, verb string, err error) {
	if len(args) == 2 {
		limit, err = time.ParseDuration(args[1])
	}
	if len(args) != 2 || err != nil {
		return 0, "", errors.New("keyrack calls this itself")
	}
	return limit, args[0], nil
}

func childReport(answer string, err error, stdout, stderr io.Writer) int {
	switch {
	case errors.Is(err, keyrings.ErrNotFound):
		return childNoItem
	case err != nil:
		fmt.Fprintln(stderr, err)
		return childFailed
	}
	if _, err := io.WriteString(stdout, answer); err != nil {
		return childFailed
	}
	return 0
}

// keyringAnswer is what the OS keyring's library says, in time or not.
type keyringAnswer struct {
	answer string
	err    error
}

// askKeyring asks in a goroutine that nothing but the end of the process stops.
func askKeyring(ask func() (string, error)) <-chan keyringAnswer {
	done := make(chan keyringAnswer, 1)
	go func() {
		answer, err := ask()
		if err != nil && !errors.Is(err, keyrings.ErrNotFound) {
			err = explain(err)
		}
		done <- keyringAnswer{answer, err}
	}()
	return done
}

func childAnswer(verb, key string) (string, error) {
	switch verb {
	case "get":
		return keyrings.Get(service, account)
	case "set":
		if err := keyrings.Set(service, account, key); err != nil {
			return "", err
		}
		kept, err := keyrings.Get(service, account)
		if err == nil && kept != key || errors.Is(err, keyrings.ErrNotFound) {
			err = errors.New("it did not keep the key")
		}
		return "", err
	case "delete":
		return "", keyrings.Delete(service, account)
	case "probe":
		return "", probe()
	}
	return "", errors.New("keyrack calls this itself")
}
