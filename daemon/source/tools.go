package source

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"keyrack/worksite"
)

// tool is all that differs between sources: how the tool is run, how its output is
// read, and what its failures mean.
type tool struct {
	scheme string

	// argv is run in the worksite's directory. {path} stands for what the source names,
	// {file} for the same as the absolute path of a file, {1}, {2} and {rest} for what
	// comes before its first slash, before its second, and after that, {identity} for
	// the file that the person's config names, {field} for the field, where there is
	// one. {argv} is the whole command that the source names. Where argv is nil keyrack
	// itself reads the file {path}.
	argv []string

	// format is how values stand in the output, or the file, that one process has for
	// all fields of a path, and field the pointer to one, {field} standing for its name.
	// Of several pointers, a line each, the first that leads somewhere counts. Where
	// format is "" the output is one value.
	format, field string

	// expiry is the pointer to what the output says about the end of its values: a time
	// (RFC 3339, or in seconds since 1970) or the number of seconds that are left. "" for
	// nothing.
	expiry string

	together bool  // one process answers for all sources of the scheme
	many     *many // how one process answers for several of them, nil where it can't
	tail     bool  // what stands after the path's last slash is the field

	firstLine string // the field with which the whole output is the value; else its first line is. "" for always
	env       []string
	allEnv    bool           // it may see what is there for the sake of other tools
	absent    *regexp.Regexp // of the first line of standard error: there is no such value
	loggedOut *regexp.Regexp // nobody is logged in
	login     string         // the command for that, as argv is written
	listing   bool           // a first line that is {path}, or that with a slash, is a directory's listing, and no value
	instead   string         // a program that takes the same arguments, run where the first is not there
	first     string         // the one that is not there, where the other is run
	get       string         // where to get the tool
}

// tools are the rows.
var tools = slices.Concat(local, remote)

// local are the rows of what needs no server, or, as kubectl, no variable that is a
// secret.
var local = []tool{
	{
		scheme: "age",
		argv:   []string{"age", "--decrypt", "--identity", "{identity}", "--", "{file}"},
		absent: regexp.MustCompile(`failed to open input file .*: no such file or directory`),
		get:    "https://github.com/FiloSottile/age#installation",
	},
	{scheme: "dotenv", format: formatDotenv, field: "{field}"},
	{scheme: worksite.EnvScheme}, // the daemon has none: see Tools.ask
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
		argv:      []string{"kubectl", "get", "secret", "--namespace", "{1}", "--output", "json", "--", "{2}"},
		format:    formatBase64,
		field:     "/data/{field}",
		env:       []string{"KUBECONFIG"},
		absent:    regexp.MustCompile(`\(NotFound\)`),
		loggedOut: regexp.MustCompile(`Unauthorized|must be logged in|provide credentials`),
		login:     "kubectl auth whoami",
		get:       "https://kubernetes.io/docs/tasks/tools/",
	},
	{scheme: "kernel", format: formatKernel, field: "{path}", together: true},
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

func (t *tool) fill(s worksite.Source, p Place) []string {
	identity := "AGE_IDENTITY"
	if p.Identity != "" {
		identity = p.file(p.Identity)
	}
	s = t.named(s)
	part := append(strings.SplitN(s.Path, "/", 3), "", "")
	filler := strings.NewReplacer("{path}", s.Path, "{field}", s.Field, "{file}", p.file(s.Path), "{identity}", identity,
		"{1}", part[0], "{2}", part[1], "{rest}", part[2])
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

// other is t with the program that is run instead.
func (t *tool) other() *tool {
	o := *t
	o.first, o.instead = t.argv[0], ""
	o.argv = append([]string{t.instead}, t.argv[1:]...)
	o.login = strings.Replace(t.login, t.argv[0], t.instead, 1)
	return &o
}

// named is s with the field where it belongs.
func (t *tool) named(s worksite.Source) worksite.Source {
	if slash := strings.LastIndexByte(s.Path, '/'); t.tail && slash >= 0 {
		s.Path, s.Field = s.Path[:slash], s.Path[slash+1:]
	}
	return s
}

// pointer is where the field of s stands in the output, n being its number among
// those that one process answers for. One that begins with a slash is a pointer
// already.
func (t *tool) pointer(s worksite.Source, n int) string {
	s = t.named(s)
	if t.scheme == "exec" {
		s.Field, _ = s.Pointers()
	}
	field, under := s.Field, ""
	if t.format == formatJSON || t.format == formatBase64 {
		if field = escapePart(s.Field); field != "" {
			under = "/" + field
		}
		if t.format == formatJSON && strings.HasPrefix(s.Field, "/") {
			under = s.Field
		}
		s.Path = escapePart(s.Path)
	}
	return strings.NewReplacer("/{field}", under, "{field}", field, "{path}", s.Path, "{n}", strconv.Itoa(n)).Replace(t.field)
}

// escapePart is a name as a part of a pointer (RFC 6901).
func escapePart(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

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
		return among(Variables(), name) && !among(t.env, name)
	})
}

// among says whether name is one of names, of which one that ends in a star stands
// for all that begin with it.
func among(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		start, open := strings.CutSuffix(n, "*")
		return n == name || open && strings.HasPrefix(name, start)
	})
}

// Variables are the variables that some tools may see besides those that every
// process of the daemon's has. One that ends in a star stands for all that begin with
// it.
func Variables() (names []string) {
	for _, t := range tools {
		names = append(names, t.env...)
	}
	return names
}
