package source

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"keyrack/worksite"
)

// tool is all that differs between sources: how the tool is run, how its output is
// read, and what its failures mean.
type tool struct {
	scheme string

	// argv is run in the worksite's directory. {path} stands for what the source names,
	// {file} for the same as the absolute path of a file, {dir} and {base} for what
	// comes before its last slash and after, {identity} for the file that the person's
	// config names, {field} for the field, where there is one. {argv} is the whole
	// command that the source names. Where argv is nil keyrack itself reads the file
	// {path}.
	argv []string

	// format is how values stand in the output, or the file, that one process has for
	// all fields of a path, and field the pointer to one, {field} standing for its name.
	// Where format is "" the output is one value.
	format, field string

	// expiry is the pointer to what the output says about the end of its values: a time
	// (RFC 3339, or in seconds since 1970) or the number of seconds that are left. "" for
	// nothing.
	expiry string

	together bool // one process answers for all sources of the scheme

	firstLine string // the field with which the whole output is the value; else its first line is. "" for always
	env       []string
	allEnv    bool           // it may see what is there for the sake of other tools
	absent    *regexp.Regexp // of the first line of standard error: there is no such value
	loggedOut *regexp.Regexp // nobody is logged in
	login     string         // the command for that, as argv is written
	listing   bool           // a first line that is {path}, or that with a slash, is a directory's listing, and no value
	get       string         // where to get the tool
}

// tools are the rows, by scheme.
var tools = []tool{
	{
		scheme: "age",
		argv:   []string{"age", "--decrypt", "--identity", "{identity}", "--", "{file}"},
		absent: regexp.MustCompile(`failed to open input file .*: no such file or directory`),
		get:    "https://github.com/FiloSottile/age#installation",
	},
	{scheme: "dotenv", format: formatDotenv, field: "{field}"},
	{scheme: "exec", argv: []string{"{argv}"}, format: formatFile, field: "{field}", allEnv: true, loggedOut: regexp.MustCompile("")},
	{scheme: "file", format: formatFile, field: "{field}"},
	{
		scheme:    "gopass",
		argv:      []string{"gopass", "show", "--nosync", "--password", "--", "{path}", "{field}"},
		env:       []string{"GNUPGHOME", "PASSWORD_STORE_DIR"},
		absent:    regexp.MustCompile(`is not in the password store|key not found in entry|password-store is not initialized`),
		loggedOut: regexp.MustCompile(`failed to decrypt`),
		login:     "gopass show -- {path} >/dev/null",
		listing:   true,
		get:       "https://www.gopass.pw/#install",
	},
	{
		scheme:    "k8s",
		argv:      []string{"kubectl", "get", "secret", "--namespace", "{dir}", "--output", "json", "--", "{base}"},
		format:    formatBase64,
		field:     "/data/{field}",
		env:       []string{"KUBECONFIG"},
		absent:    regexp.MustCompile(`\(NotFound\)`),
		loggedOut: regexp.MustCompile(`Unauthorized|must be logged in|provide credentials`),
		login:     "kubectl auth whoami",
		get:       "https://kubernetes.io/docs/tasks/tools/",
	},
	{scheme: "keyring", format: formatKeyring, field: "{path}", together: true},
	{
		scheme:    "pass",
		argv:      []string{"pass", "show", "--", "{path}"},
		firstLine: "*",
		env:       []string{"GNUPGHOME", "PASSWORD_STORE_DIR"},
		absent:    regexp.MustCompile(`is not in the password store|password store is empty`),
		loggedOut: regexp.MustCompile(`gpg: .*decryption failed`),
		login:     "pass show -- {path} >/dev/null",
		listing:   true,
		get:       "https://www.passwordstore.org/#download",
	},
	{
		scheme:    "sops",
		argv:      []string{"sops", "--decrypt", "--output-type", "json", "{file}"},
		format:    formatJSON,
		field:     "/{field}",
		env:       []string{"GNUPGHOME", "SOPS_AGE_KEY_FILE"},
		absent:    regexp.MustCompile(`cannot operate on non-existent file`),
		loggedOut: regexp.MustCompile(`Failed to get the data key`),
		login:     "sops --decrypt {path} >/dev/null",
		get:       "https://github.com/getsops/sops/releases",
	},
}

func toolOf(scheme string) *tool {
	i := slices.IndexFunc(tools, func(t tool) bool { return t.scheme == scheme })
	return &tools[i] // worksite knows no scheme that has no row, which a test holds
}

// Place is where a source is asked: the worksite's directory, the person's home
// and age identity.
type Place struct{ Dir, Home, Identity string }

// file is the absolute path of a file that a worksite or the config names.
func (p Place) file(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(p.Home, rest)
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(p.Dir, path)
}

// Command is the command that s runs at p, nil where keyrack reads a file itself.
func Command(s worksite.Source, p Place) []string { return toolOf(s.Scheme).fill(s, p) }

func (t *tool) fill(s worksite.Source, p Place) []string {
	identity := "AGE_IDENTITY"
	if p.Identity != "" {
		identity = p.file(p.Identity)
	}
	slash := strings.LastIndexByte(s.Path, '/')
	filler := strings.NewReplacer("{path}", s.Path, "{field}", s.Field, "{file}", p.file(s.Path), "{identity}", identity,
		"{dir}", s.Path[:max(slash, 0)], "{base}", s.Path[slash+1:])
	var argv []string
	for _, word := range t.argv {
		if word == "{argv}" {
			return s.Argv()
		}
		if word != "{field}" || s.Field != "" {
			argv = append(argv, filler.Replace(word))
		}
	}
	return argv
}

// pointer is where a field stands in the output. One that begins with a slash is a
// pointer already.
func (t *tool) pointer(s worksite.Source) string {
	field := s.Field
	if t.scheme == "exec" {
		field, _ = s.Pointers()
	}
	if t.format == formatJSON && strings.HasPrefix(field, "/") {
		return field
	}
	if t.format == formatJSON || t.format == formatBase64 {
		field = strings.NewReplacer("~", "~0", "/", "~1").Replace(field)
	}
	return strings.NewReplacer("{field}", field, "{path}", s.Path).Replace(t.field)
}

// words is the login command for s.
func (t *tool) words(s worksite.Source) string {
	path, err := syntax.Quote(s.Path, syntax.LangPOSIX)
	if err != nil { // it holds what can't be typed
		path = "NAME"
	}
	return strings.ReplaceAll(t.login, "{path}", path)
}

// environ is the part of environ that the tool may see: all but what is there for
// the sake of other tools.
func (t *tool) environ(environ []string) []string {
	if t.allEnv {
		return environ
	}
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(Variables(), name) && !slices.Contains(t.env, name)
	})
}

// Variables are the variables that some tools may see besides those that every
// process of the daemon's has.
func Variables() (names []string) {
	for _, t := range tools {
		names = append(names, t.env...)
	}
	return names
}

// Batches says which of sources one process answers for.
func Batches(sources []worksite.Source) [][]int {
	var batches [][]int
	of := map[worksite.Source]int{}
	for i, s := range sources {
		key := s
		switch row := toolOf(s.Scheme); {
		case row.together:
			key = worksite.Source{Scheme: s.Scheme}
		case row.scheme == "exec":
			_, key.Field = s.Pointers()
		case row.format != "":
			key.Field = ""
		}
		at, ok := of[key]
		if !ok {
			at = len(batches)
			of[key] = at
			batches = append(batches, nil)
		}
		batches[at] = append(batches[at], i)
	}
	return batches
}
