package worksite

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Helper is a row of [[helper]]: what `keyrack helper` gives to a tool that asks for
// credentials, and for what. Host is as Server returns it, "" where the kind has
// none; Name tells the rows of such a kind apart, Prompt is the question that is
// answered, Index the URL of a registry's index. Secrets are the names of secrets,
// by the key of the row.
type Helper struct {
	Kind     string
	Host     string
	Name     string
	Prompt   string
	Index    string
	Username string
	Secrets  map[string]string
}

// helperKind is what a row of one kind must have and may have, in the order in which
// people read it.
type helperKind struct {
	name string
	must []string
	may  []string
}

func (k helperKind) keys() []string { return slices.Concat([]string{"kind"}, k.must, k.may) }

var helperKinds = []helperKind{
	{"git", []string{"host", "password"}, []string{"username"}},
	{"aws", []string{"access_key_id", "secret_access_key"}, []string{"session_token", "name"}},
	{"docker", []string{"host", "username", "password"}, nil},
	{"kubernetes", []string{"token"}, []string{"name"}},
	{"keyring", []string{"host", "username", "password"}, nil},
	{"terraform", []string{"host", "token"}, nil},
	{"ansible", []string{"password"}, []string{"name"}},
	{"askpass", []string{"prompt", "password"}, nil},
	{"cargo", []string{"index", "token"}, nil},
	{"npm", []string{"host", "token"}, nil},
}

// Names are the secrets of the row, each once, in the order of its kind's keys.
func (h Helper) Names() []string {
	var names []string
	for _, key := range h.kind().keys() {
		if name := h.Secrets[key]; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Needs says whether a row is of no use without the value under key.
func (h Helper) Needs(key string) bool { return slices.Contains(h.kind().must, key) }

func (h Helper) kind() helperKind {
	return helperKinds[slices.IndexFunc(helperKinds, func(k helperKind) bool { return k.name == h.Kind })]
}

// line is what people read of a row.
func (h Helper) line() string {
	line := "helper " + h.Kind
	switch {
	case h.Host != "":
		line += " for " + Visible(strings.TrimPrefix(h.Host, "https://"))
	case h.Name != "" || h.Prompt != "" || h.Index != "":
		line += " for " + Visible(h.Name+h.Prompt+h.Index)
	}
	var gives []string
	for _, key := range h.kind().keys() {
		if name := h.Secrets[key]; name != "" {
			gives = append(gives, key+" "+name)
		}
	}
	line += " gives " + strings.Join(gives, ", ")
	if h.Username != "" {
		line += ", as " + Visible(h.Username)
	}
	return line
}

// Server is the form in which servers are compared: scheme://host, in lower case and
// without the port that the scheme has anyway. text may have no scheme, which is https
// then. ok is false where it is something else than a server.
func Server(text string) (server string, ok bool) {
	text = strings.ToLower(text)
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || text != u.Scheme+"://"+u.Host {
		return "", false
	}
	usual := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	return strings.TrimSuffix(text, usual), true
}

// helperRows are the tables of [[helper]], as many as the items of n.
func helperRows(n *node, value any) (rows []map[string]any, err error) {
	switch list := value.(type) {
	case []map[string]any:
		rows = list
	case []any:
		for _, item := range list {
			row, _ := item.(map[string]any)
			rows = append(rows, row)
		}
	}
	if rows == nil || len(rows) != len(n.items) {
		return nil, fault{n.value, "helper is an array of tables: [[helper]]"}
	}
	return rows, nil
}

// helpers reads the rows of [[helper]].
func (s *Site) helpers(n *node, value any) error {
	rows, err := helperRows(n, value)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, row := range rows {
		h, err := s.helper(n.items[i], row)
		if err != nil {
			return err
		}
		is := strings.Join([]string{h.Kind, h.Host, h.Name, h.Prompt, h.Index, h.Username}, "\x00")
		if seen[is] {
			return fault{n.items[i].key, "a row for the same stands above"}
		}
		seen[is] = true
		s.Helpers = append(s.Helpers, h)
	}
	return nil
}

func (s *Site) helper(n *node, row map[string]any) (h Helper, err error) {
	if row == nil {
		return h, fault{n.value, "helper is an array of tables: [[helper]]"}
	}
	kinds := make([]string, len(helperKinds))
	for i, k := range helperKinds {
		kinds[i] = k.name
	}
	kind := n.index["kind"]
	if kind == nil {
		return h, fault{n.key, `a helper needs kind = "` + strings.Join(kinds, `", "`) + `"`}
	}
	if h.Kind, err = choice(kind, row["kind"], kinds...); err != nil {
		return h, err
	}
	h.Secrets = map[string]string{}
	known := h.kind().keys()
	for _, k := range n.keys {
		if !slices.Contains(known, k.name) {
			return h, unknown(k, known, nil)
		}
		if err := s.helperKey(&h, k, row[k.name]); err != nil {
			return h, err
		}
	}
	for _, key := range h.kind().must {
		if n.index[key] == nil {
			return h, fault{n.key, "a helper for " + h.Kind + " needs " + key}
		}
	}
	return h, nil
}

func (s *Site) helperKey(h *Helper, n *node, value any) (err error) {
	word, err := text(n, value)
	if err != nil {
		return err
	}
	if n.name != "kind" && (word == "" || strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f })) {
		return fault{n.value, n.name + " is one line, and not empty"}
	}
	switch n.name {
	case "kind":
	case "host":
		var ok bool
		if h.Host, ok = Server(word); !ok {
			return fault{n.value, `host is a server, such as "github.com" or "http://localhost:3000"`}
		}
	case "name":
		h.Name = word
	case "prompt":
		h.Prompt = word
	case "index":
		h.Index = word
	case "username":
		h.Username = word
	default:
		return s.helperSecret(h, n, word)
	}
	return nil
}

// helperSecret takes the name of a secret. What stands there instead may be a value,
// and is not said.
func (s *Site) helperSecret(h *Helper, n *node, name string) error {
	known := map[string]string{}
	for _, secret := range s.Secrets {
		known[strings.ToLower(secret.Name)] = secret.Name
	}
	if known[strings.ToLower(name)] != name {
		what := n.name + " is the name of a secret under [secrets]"
		if near := nearest(name, slices.Sorted(maps.Keys(known))); near != "" {
			what += `, did you mean "` + known[near] + `"?`
		}
		return fault{n.value, what}
	}
	h.Secrets[n.name] = name
	return nil
}

// helperLines are what changed about the rows.
func helperLines(before, now *Site) (lines []string) {
	rows := func(s *Site) (all []string) {
		for _, h := range s.Helpers {
			all = append(all, h.line())
		}
		return all
	}
	was, is := rows(before), rows(now)
	for _, row := range is {
		if !slices.Contains(was, row) {
			lines = append(lines, "+ "+row)
		}
	}
	for _, row := range was {
		if !slices.Contains(is, row) {
			lines = append(lines, "- "+row)
		}
	}
	return lines
}
