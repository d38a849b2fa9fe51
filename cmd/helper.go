package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"keyrack/daemon"
	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// helperLinks are the names under which tools look for a helper, and the protocol
// that each of them speaks.
var helperLinks = []struct{ name, protocol string }{
	{"git-credential-keyrack", "git"},
	{"docker-credential-keyrack", "docker"},
	{"terraform-credentials-keyrack", "terraform"},
	{"keyrack-ansible-client", "ansible"},
	{"keyrack-askpass", "askpass"},
	{"cargo-credential-keyrack", "cargo"},
	{"keyring", "keyring"},
}

// npmLink begins the name of a helper for a registry of npm packages, which goes on
// with its host: pnpm starts a helper without a word about what it wants.
const npmLink = "keyrack-npm-"

// helperOf are the protocol and its arguments for the helper by whose name this
// program was called, nil for none.
func helperOf(called string) []string {
	called = filepath.Base(called)
	for _, link := range helperLinks {
		if called == link.name {
			return []string{link.protocol}
		}
	}
	if host, ok := strings.CutPrefix(called, npmLink); ok && host != "" {
		return []string{"npm", host}
	}
	return nil
}

func helperCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "helper",
		Short: "give secrets to tools that ask for credentials, without the environment",
		Long: `Answers tools in the protocols by which they ask for credentials, so that their
secrets are in no environment. The rows [[helper]] of .keyrack.toml say what is for
whom. The worksite is that of the working directory. As everywhere, it has to be
approved, a value has its ttl, and one with confirm waits for your yes.`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(c, "which protocol?")
			}
			return usage(c, fmt.Sprintf("unknown protocol %q", args[0]))
		},
	}
	c.AddCommand(helperGitCommand(), helperAWSCommand(), helperDockerCommand(), helperKubernetesCommand(),
		helperKeyringCommand(), helperTerraformCommand(), helperAnsibleCommand(), helperAskpassCommand(), helperCargoCommand(), helperNPMCommand(),
		helperInstallCommand(), helperUninstallCommand())
	return c
}

// row is a row of the worksite here, or of the person's own config.
type row struct {
	worksite.Helper
	site *worksite.Site
	own  bool // the config's
}

// findRow is the first row that fits, nil where there is none. The person's config is
// looked at where the worksite here has none.
func findRow(kind string, fits func(worksite.Helper) bool) (*row, error) {
	for _, rowsOf := range []func(string) ([]row, error){siteRows, ownRows} {
		rows, err := rowsOf(kind)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(rows, func(r row) bool { return fits(r.Helper) }); i >= 0 {
			return &rows[i], nil
		}
	}
	return nil, nil
}

// rowsOf are all rows of a kind.
func rowsOf(kind string) ([]row, error) {
	rows, err := siteRows(kind)
	if err != nil {
		return nil, err
	}
	own, err := ownRows(kind)
	return append(rows, own...), err
}

// siteRows are the rows of a kind in the worksite here.
func siteRows(kind string) (rows []row, err error) {
	root, err := lookForRoot("")
	if err != nil || root == "" {
		return nil, err
	}
	site, err := worksite.Read(root)
	if err != nil {
		return nil, err
	}
	for _, h := range site.Helpers {
		if h.Kind == kind {
			rows = append(rows, row{Helper: h, site: site})
		}
	}
	return rows, nil
}

// ownRows are those in the person's config.
func ownRows(kind string) (rows []row, err error) {
	config, err := configFile()
	if err != nil {
		return nil, err
	}
	home, _ := os.UserHomeDir() // without one, "~/" is no directory, which is said
	own, err := worksite.OwnHelpers(config, home)
	for _, h := range own {
		if h.Kind == kind {
			rows = append(rows, row{h.Helper, h.Site, true})
		}
	}
	return rows, err
}

// serverOf is the server of a host or a URL, which may have a path. "" is none.
func serverOf(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "https", text
	}
	host, _, _ := strings.Cut(rest, "/")
	server, _ := worksite.Server(scheme + "://" + host)
	return server
}

// namedRow is the row of a tool that asks nobody else: without one, it is an error.
func namedRow(kind string, args []string) (*row, error) {
	name := strings.Join(args, "")
	r, err := findRow(kind, func(h worksite.Helper) bool { return h.Name == name })
	if r == nil && err == nil {
		if _, err := findRoot(""); err != nil {
			return nil, err
		}
		text := fmt.Sprintf("%s has no [[helper]] with kind = %q", worksite.FileName, kind)
		if name != "" {
			text += fmt.Sprintf(" and name = %q", name)
		}
		err = errors.New(text)
	}
	return r, err
}

// credentials are the values of a row by its keys, in the memory of one grant.
type credentials struct {
	values map[string][]byte
	grant  *wire.Grant
	until  time.Time // when the first of them ends; zero where none does
}

func (c *credentials) wipe() { c.grant.Wipe() }

// ask gets the values of the row from the daemon, by the state of the worksite's file
// when the row was read. The caller wipes them.
func (r *row) ask(ctx context.Context) (*credentials, error) {
	c, err := r.given(ctx)
	if e, ok := errors.AsType[*wire.Error](err); ok && r.own && e.Hint != "" {
		e.Hint = "cd " + shellQuote(r.site.Root) + " && " + e.Hint
	}
	return c, err
}

func (r *row) given(ctx context.Context) (*credentials, error) {
	client, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	client.Command = "helper-" + r.Kind
	query := daemon.Query{Root: r.site.Root, Want: r.Names(), Only: r.site.Digest}
	for _, name := range r.Names() {
		query.Has = append(query.Has, r.secret(name).Variables()...)
	}
	query.Has = withValue(query.Has)
	grant, err := client.Grant(ctx, query)
	if err == nil {
		grant, err = confirm(ctx, client, query, []string{self()}, grant)
	}
	if err != nil {
		return nil, err
	}
	c, err := r.sort(grant)
	if err == nil {
		c.until, err = r.until(ctx, client)
	}
	if err != nil {
		grant.Wipe()
		return nil, err
	}
	return c, nil
}

// sort finds the row's values in a grant.
func (r *row) sort(grant *wire.Grant) (*credentials, error) {
	if grant.Status != wire.OK {
		return nil, refused(grant)
	}
	byVariable := map[string][]byte{}
	for _, v := range grant.Vars {
		byVariable[v.Name] = v.Value
	}
	c := &credentials{map[string][]byte{}, grant, time.Time{}}
	for key, name := range r.Secrets {
		value, ok := byVariable[r.secret(name).Variable()]
		switch {
		case ok && !utf8.Valid(value):
			return nil, fmt.Errorf("%s is not UTF-8, as %s has it", name, r.Kind)
		case ok:
			c.values[key] = value
		case r.Needs(key):
			return nil, &wire.Error{Status: wire.Missing, Message: r.site.Name + ": " + name + " has no value", Hint: "keyrack why " + name}
		}
	}
	return c, nil
}

func (r *row) secret(name string) (s worksite.Secret) {
	for _, s = range r.site.Secrets {
		if s.Name == name {
			break
		}
	}
	return s
}

// print gives one value on a line of its own.
func (r *row) print(ctx context.Context, key string) error {
	given, err := r.ask(ctx)
	if err != nil {
		return err
	}
	defer given.wipe()
	if err := r.oneLine(given, key); err != nil {
		return err
	}
	return emit(given.values[key], []byte("\n"))
}

// oneLine refuses a value that the protocol would cut.
func (r *row) oneLine(given *credentials, key string) error {
	if bytes.ContainsAny(given.values[key], "\r\n") {
		return errors.New(r.Secrets[key] + " has more than one line, which " + r.Kind + " can't take")
	}
	return nil
}

// refused is the error that a grant stands for: what the first line says, and the
// command that mends it.
func refused(grant *wire.Grant) error {
	e := &wire.Error{Status: grant.Status, Message: "nothing was given"}
	for i, line := range grant.Lines {
		switch {
		case i == 0:
			e.Message = line
		case strings.HasPrefix(line, "keyrack ") && e.Hint == "":
			e.Hint = line
		}
	}
	return e
}

// until is when the first of the row's values ends. One that is not held any more
// has ended; a default never does.
func (r *row) until(ctx context.Context, client *daemon.Client) (until time.Time, err error) {
	now := time.Now()
	status, err := client.Status(ctx, r.site.Root)
	if err != nil {
		return until, err
	}
	for _, s := range status.Secrets {
		for _, name := range r.Names() {
			ends := now.Add(time.Duration(s.LeftSeconds) * time.Second)
			if s.Name == name && s.State != daemon.StateDefault && (s.Held || len(withValue(s.Variables)) == 0) && (until.IsZero() || ends.Before(until)) {
				until = ends
			}
		}
	}
	return until, nil
}

// timestamp is a time as AWS and Kubernetes read it.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
