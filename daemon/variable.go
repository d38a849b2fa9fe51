package daemon

import (
	"slices"

	"keyrack/daemon/wire"
	"keyrack/worksite"
)

// A source may be a variable of whoever asks. Its value never comes here: the answer
// names the variable, and who asks takes it from its own environment. So it can't be
// another client's, and no lock and no TTL is about it.

// variable is the variable of who asks from which it has s, "" for none: one that
// stands before the source at place before.
func (p *plan) variable(s worksite.Secret, before int) string {
	for _, source := range sources(s)[:before] {
		if source.Scheme == worksite.EnvScheme && slices.Contains(p.has, source.Path) {
			return source.Path
		}
	}
	return ""
}

// needless says whether who asks has s without any source being asked.
func (p *plan) needless(s worksite.Secret) bool {
	if len(p.has) == 0 {
		return false
	}
	first := slices.IndexFunc(sources(s), func(source worksite.Source) bool { return source.Scheme != worksite.EnvScheme })
	if first < 0 {
		first = len(s.From)
	}
	return p.variable(s, first) != ""
}

// instead is the variable that who asks has in place of what g holds of s, or of
// nothing where it is not held.
func (p *plan) instead(g *grant, s worksite.Secret, held bool) string {
	if len(p.has) == 0 {
		return ""
	}
	before := len(s.From)
	if held {
		answered := g.from[s.Name]
		before = slices.IndexFunc(sources(s), func(source worksite.Source) bool { return source.String() == answered })
	}
	return p.variable(s, max(before, 0))
}

// named is what an answer has in place of the value of s, which is in the variable name
// of who asks.
func named(s worksite.Secret, name string) variable {
	return variable{name: wire.Own + s.Variable(), plain: []byte(name)}
}
