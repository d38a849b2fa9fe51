package worksite

import (
	"errors"
	"slices"
	"strings"
)

// Source is one place that a value may come from, as a worksite names it. The zero
// Source is the rack.
type Source struct {
	Scheme string
	Path   string // what stands between the scheme and the first #
	Field  string // what stands after it, "" for none
}

// String is the source as a worksite's file writes it.
func (s Source) String() string {
	if s.Scheme == "" {
		return ""
	}
	text := s.Scheme + ":"
	if strings.HasPrefix(schemeNamed(s.Scheme).form, text+"//") {
		text += "//"
	}
	if text += s.Path; s.Field != "" {
		text += "#" + s.Field
	}
	return text
}

// EnvScheme is the kind of source that is a variable of whoever asks.
const EnvScheme = "env"

// scheme is a kind of source. form is how one is written, fits whether the parts of
// one are of that form.
type scheme struct {
	name, form string
	fits       func(path, field string) bool
}

// schemes are all kinds of sources. What is done with one is package source's
// business, whose table has a row for each.
var schemes = []scheme{
	{"age", "age:FILE", func(_, field string) bool { return field == "" }},
	{"aws-sm", "aws-sm://ID or aws-sm://ID#KEY", func(path, _ string) bool { return awsName(path) }},
	{"aws-ssm", "aws-ssm://NAME or aws-ssm:///PATH/NAME, or that with #KEY", func(path, _ string) bool {
		return awsName(path) && (path[0] == '/' || !strings.Contains(path, "/") || strings.HasPrefix(path, "arn:"))
	}},
	{"az-kv", "az-kv://VAULT/NAME or az-kv://VAULT/NAME#KEY", func(path, _ string) bool { return parts(path) == 2 }},
	{"bw", "bw://ITEM#FIELD", func(_, field string) bool { return field != "" }},
	{"bws", "bws://ID or bws://ID#KEY", func(path, _ string) bool { return !strings.Contains(path, "/") }},
	{"doppler", "doppler://PROJECT/CONFIG/NAME", func(path, field string) bool { return field == "" && parts(path) == 3 }},
	{"dotenv", "dotenv:FILE#NAME", func(_, field string) bool { return isVariable(field) }},
	{EnvScheme, "env:NAME", func(path, field string) bool { return isVariable(path) && field == "" }},
	{execScheme, execForm, func(_, _ string) bool { return true }},
	{"file", "file:FILE or file:FILE#/json/pointer", func(_, field string) bool { return field == "" || field[0] == '/' }},
	{"gcp-sm", "gcp-sm://PROJECT/NAME or gcp-sm://PROJECT/NAME#KEY", func(path, _ string) bool { return parts(path) == 2 }},
	{"gopass", "gopass:NAME or gopass:NAME#KEY", func(_, field string) bool { return !strings.HasPrefix(field, "-") }},
	{"infisical", "infisical://PROJECT/ENV/NAME or infisical://PROJECT/ENV/FOLDER/NAME", func(path, field string) bool {
		return field == "" && parts(path) >= 3
	}},
	{"k8s", "k8s://NAMESPACE/SECRET#KEY", func(path, field string) bool {
		return field != "" && strings.Count(path, "/") == 1 && path[0] != '/' && !strings.HasSuffix(path, "/") && !strings.Contains(path, "/-")
	}},
	{"kernel", "kernel:DESCRIPTION", func(_, field string) bool { return field == "" }},
	{"keyring", "keyring:SERVICE/ACCOUNT", func(path, field string) bool {
		slash := strings.LastIndexByte(path, '/')
		return field == "" && slash > 0 && slash < len(path)-1
	}},
	{"op", "op://VAULT/ITEM/FIELD or op://VAULT/ITEM/SECTION/FIELD", func(path, field string) bool {
		return field == "" && (parts(path) == 3 || parts(path) == 4) && !strings.Contains(path, "$") // op puts variables in
	}},
	{"pass", "pass:NAME or pass:NAME#*", func(_, field string) bool { return field == "" || field == "*" }},
	{"sops", "sops:FILE#KEY or sops:FILE#/json/pointer", func(_, field string) bool { return field != "" }},
	{"vault", "vault://MOUNT/PATH#FIELD", func(path, field string) bool { return field != "" && parts(path) >= 2 }},
}

// parts is how many parts path has, 0 where one of them is empty or could be an
// option.
func parts(path string) int {
	all := strings.Split(path, "/")
	if slices.ContainsFunc(all, func(part string) bool { return part == "" || part[0] == '-' }) {
		return 0
	}
	return len(all)
}

// awsName says whether aws takes path for a name: it reads what looks like a URL, or
// like JSON.
func awsName(path string) bool {
	return !strings.Contains(path, "://") && !strings.ContainsFunc(path, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/_+=.@:!-", r))
	})
}

// ParseSource reads a source, "" for the rack. Its errors quote nothing of it: it
// may be a value that stands in the wrong place.
func ParseSource(text string) (Source, error) {
	if text == "" {
		return Source{}, nil
	}
	name, rest, found := strings.Cut(text, ":")
	known := schemeNamed(name)
	if !found || known == nil {
		return Source{}, errors.New(noSource(name, found))
	}
	if name == execScheme {
		return parseExec(rest)
	}
	s := Source{Scheme: name}
	var more bool
	if strings.HasPrefix(known.form, name+"://") {
		rest = strings.TrimPrefix(rest, "//")
	}
	s.Path, s.Field, more = strings.Cut(rest, "#")
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Source{}, errors.New("a source holds no control characters")
	case strings.HasPrefix(s.Path, "-"): // it would be an option of the tool's
		return Source{}, errors.New("what a source names begins with no -")
	case s.Path == "", more && s.Field == "", !known.fits(s.Path, s.Field):
		return Source{}, errors.New("such a source is written " + known.form)
	}
	return s, nil
}

func schemeNamed(name string) *scheme {
	for i := range schemes {
		if schemes[i].name == name {
			return &schemes[i]
		}
	}
	return nil
}

// Schemes are the names of the kinds of sources, in order.
func Schemes() (names []string) {
	for _, s := range schemes {
		names = append(names, s.name)
	}
	return names
}

// noSource words what is no source, with the kind that was perhaps meant.
func noSource(name string, found bool) string {
	if near := nearest(name, Schemes()); found && near != "" {
		return `no such kind of source, did you mean "` + near + `:"?`
	}
	return `a source is "", the rack, or begins with ` + strings.Join(Schemes(), ":, ") + ":; a value itself is no source: keyrack set"
}
