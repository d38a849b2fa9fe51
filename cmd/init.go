package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"keyrack/daemon"
	"keyrack/daemon/source"
	"keyrack/shells"
	"keyrack/worksite"
)

func initCommand() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use:   "init",
		Short: "make the working directory a worksite",
		Long: `Writes a .keyrack.toml in the working directory. Its name is that of the git
remote, owner/repo, so that all clones and work trees share their secrets, or else
that of the directory.

Where there is a .env, init asks on a terminal whether to put its values into the
rack. The .env stays as it is.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := os.Getwd()
			if err != nil {
				return fmt.Errorf("the working directory: %w", err)
			}
			return initIn(c.Context(), dir, from)
		},
	}
	c.Flags().StringVar(&from, "import", "", "put the values of `FILE`, such as .env, into the rack")
	return c
}

// initIn makes dir a worksite, with the variables of the file from if that is not
// "". The worksite's file comes last: where something fails before, init can run
// again, and the rack keeps what it has.
func initIn(ctx context.Context, dir, from string) error {
	path := filepath.Join(dir, worksite.FileName)
	if _, err := os.Lstat(path); err == nil {
		return errors.New(worksite.FileName + " is there already")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name := projectName(ctx, dir)
	vars, from, err := chooseImport(dir, from)
	if err != nil {
		return err
	}
	defer source.WipeVars(vars)
	if len(vars) > 0 {
		client, err := connect(ctx)
		if err != nil {
			return err
		}
		if err := importVars(ctx, client, name, vars); err != nil {
			return err
		}
	}
	if err := writeNew(path, siteText(name, vars)); err != nil {
		return err
	}
	if _, err := worksite.Read(dir); err != nil {
		return err
	}
	say("wrote %s for %s", worksite.FileName, name)
	if above := worksite.Find(filepath.Dir(dir)); above != "" {
		say("in here the one in %s no longer counts", worksite.Visible(above))
	}
	if from != "" {
		say("%s still holds its values; when all works without it:", worksite.Visible(from))
		hint("rm " + shellWord(from))
	}
	say("next:")
	hint("keyrack allow")
	return nil
}

const siteHead = `# What this project asks keyrack for: names and sources, never values.
name = "%s"

[secrets]
`

const siteExample = `# DATABASE_URL = ""   # "" is the rack: keyrack set DATABASE_URL
`

// siteText is the worksite's file for the variables that init imports.
func siteText(name string, vars []source.Var) string {
	var b strings.Builder
	fmt.Fprintf(&b, siteHead, name)
	for _, v := range vars {
		b.WriteString(v.Name + " = \"\"\n")
	}
	if len(vars) == 0 {
		b.WriteString(siteExample)
	}
	return b.String()
}

// writeNew writes a file that is not there yet. Others may not write it, whatever
// the umask: such a worksite would be refused.
func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

const dotenvName = ".env"

// chooseImport reads the file that was named, or else the .env of dir if the
// person says so, and returns what to import and from where, "" for nothing.
func chooseImport(dir, named string) ([]source.Var, string, error) {
	if named != "" {
		vars, err := readDotenv(named)
		return vars, named, err
	}
	path := filepath.Join(dir, dotenvName)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, "", nil
	}
	const later = "rm " + worksite.FileName + "; keyrack init --import " + dotenvName
	if !onTerminal() || !term.IsTerminal(int(os.Stderr.Fd())) {
		say("%s is not imported; to do so:", dotenvName)
		hint(later)
		return nil, "", nil
	}
	vars, err := readDotenv(path)
	if err != nil {
		say("%s", err)
		say("%s is not imported; to do so, once it is mended:", dotenvName)
		hint(later)
		return nil, "", nil
	}
	if len(vars) == 0 {
		return nil, "", nil
	}
	// Anything but a clear yes is a no.
	answer, err := (&questions{}).visible(fmt.Sprintf("put %s of %s into the rack? [y/N] ", values(len(vars)), dotenvName))
	if word := strings.ToLower(answer); err != nil || word != "y" && word != "yes" {
		source.WipeVars(vars)
		return nil, "", nil
	}
	return vars, dotenvName, nil
}

func values(n int) string {
	if n == 1 {
		return "1 value"
	}
	return fmt.Sprintf("%d values", n)
}

// maxDotenv bounds a .env file, in bytes.
const maxDotenv = 1 << 20

// readDotenv reads the variables of a .env file that a worksite may ask for. The
// others are left out, and said.
func readDotenv(path string) ([]source.Var, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxDotenv+1))
	defer clear(text)
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxDotenv:
		return nil, fmt.Errorf("%s: over %d MiB", worksite.Visible(path), maxDotenv>>20)
	}
	vars, err := source.ParseDotenv(text)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", worksite.Visible(path), err)
	}
	return importable(path, vars)
}

// importable drops the variables that no worksite may ask for.
func importable(path string, vars []source.Var) ([]source.Var, error) {
	folded := map[string]string{}
	var fit []source.Var
	for _, v := range vars {
		if err := worksite.CheckSecretName(v.Name); err != nil {
			say("left out: %s", err)
			clear(v.Value)
			continue
		}
		fold := strings.ToLower(v.Name)
		if twin := folded[fold]; twin != "" {
			source.WipeVars(vars)
			return nil, fmt.Errorf("%s: %s and %s differ only in letter case", worksite.Visible(path), twin, v.Name)
		}
		folded[fold] = v.Name
		fit = append(fit, v)
	}
	return fit, nil
}

// importVars puts vars into the rack, under the worksite's name. A value that the
// rack has already stays: it may be the only copy.
func importVars(ctx context.Context, agent daemon.Agent, site string, vars []source.Var) error {
	items, err := agent.List(ctx, site)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, item := range items {
		known[item.Name] = true
	}
	done := 0
	for _, v := range vars {
		if known[v.Name] {
			err = compare(ctx, agent, site, v)
		} else if err = agent.Set(ctx, site, v.Name, v.Value); err == nil {
			done++
		}
		if err != nil {
			return fmt.Errorf("importing %s, after %s: %w", v.Name, values(done), err)
		}
	}
	say("put %s into the rack", values(done))
	return nil
}

// compare says where the rack has another value than v.
func compare(ctx context.Context, agent daemon.Agent, site string, v source.Var) error {
	value, err := agent.Get(ctx, site, v.Name)
	if err != nil {
		return err
	}
	defer clear(value)
	if !bytes.Equal(value, v.Value) {
		say("%s is in the rack already, with another value, which stays; to replace it:", v.Name)
		hint("keyrack set " + v.Name)
	}
	return nil
}

// shellWord is text as the first of a command's arguments, which can be pasted.
func shellWord(text string) string {
	word := shellQuote(text)
	if word != text {
		return "-- " + word
	}
	return text
}

// shellQuote is text as a word of a command line, quoted where it is more than a
// plain path.
func shellQuote(text string) string {
	special := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._/-", r))
	}
	if text != "" && text[0] != '-' && !strings.ContainsFunc(text, special) {
		return text
	}
	return shells.Bash.QuoteString(text)
}
