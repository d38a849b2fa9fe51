package testscripts

import (
	"fmt"
	"io"
	"os/exec"
	"slices"

	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdDocker asks docker-credential-keyrack by docker's own library. What it gets is
// one line, with a secret by its label:
//
//	[!] docker get URL | list | store URL | erase URL
func cmdDocker(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 || args[0] != "list" && len(args) != 2 {
		ts.Fatalf("usage: docker get URL | list | store URL | erase URL")
	}
	w := worldOf(ts)
	env := environment(ts)
	program := func(verb ...string) client.Program {
		cmd := exec.Command(w.program("docker-credential-keyrack"), verb...)
		cmd.Dir, cmd.Env, cmd.Stderr = ts.MkAbs("."), env, ts.Stderr()
		return (*dockerProgram)(cmd)
	}
	var err error
	switch args[0] {
	case "get":
		var got *credentials.Credentials
		if got, err = client.Get(program, args[1]); err == nil {
			fmt.Fprintln(ts.Stdout(), got.ServerURL, got.Username, (&server{work: w.work}).label(got.Secret))
		}
	case "list":
		var users map[string]string
		users, err = client.List(program)
		var lines []string
		for url, user := range users {
			lines = append(lines, url+" "+user+"\n")
		}
		slices.Sort(lines)
		fmt.Fprint(ts.Stdout(), lines)
	case "store":
		err = client.Store(program, &credentials.Credentials{ServerURL: args[1], Username: "me", Secret: "typed"})
	case "erase":
		err = client.Erase(program, args[1])
	}
	if err != nil {
		fmt.Fprintln(ts.Stderr(), err)
	}
	if (err != nil) != neg {
		ts.Fatalf("docker %s: %v", args[0], err)
	}
}

// dockerProgram is a client.Program with a directory and an environment.
type dockerProgram exec.Cmd

func (p *dockerProgram) Output() ([]byte, error) { return (*exec.Cmd)(p).Output() }
func (p *dockerProgram) Input(in io.Reader)      { p.Stdin = in }
