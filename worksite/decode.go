package worksite

import (
	"strings"
	"time"
)

var (
	siteKeys    = []string{"name", "ttl", "export", "secrets", "profiles", "helper"}
	secretKeys  = []string{"from", "ttl", "for", "as", "env", "required", "confirm", "default", "description"}
	profileKeys = []string{"secrets"}
)

const ttlWords = `ttl is a duration over 0, such as "15m"`

// take reads the whole file. Its errors, and those of what it calls, are faults.
func (s *Site) take(tree *node, values map[string]any) error {
	for _, n := range tree.keys {
		if err := s.takeKey(n, values[n.name]); err != nil {
			return err
		}
	}
	if tree.index["secrets"] == nil {
		return fault{0, "a worksite needs a table [secrets]"}
	}
	if n := tree.index["helper"]; n != nil { // its rows name secrets, which may stand below it
		if err := s.helpers(n, values[n.name]); err != nil {
			return err
		}
	}
	if s.Name == "" {
		if s.Name = dirName(s.dir); s.Name == "" {
			return fault{0, `the directory's name fits no worksite: add name = "…"`}
		}
	}
	return nil
}

func (s *Site) takeKey(n *node, value any) (err error) {
	switch n.name {
	case "name":
		if s.Name, err = text(n, value); err != nil {
			return err
		}
		if problem := siteNameProblem(s.Name); problem != "" {
			return fault{n.value, problem}
		}
	case "ttl":
		s.TTL, err = ttl(n, value)
		s.ttlAt = n.value
	case "export":
		s.Export, err = choice(n, value, ExportCommand, ExportTree)
	case "secrets":
		s.Secrets, err = s.secrets(n, value)
	case "profiles":
		err = s.profiles(n, value)
	case "helper":
	default:
		return unknown(n, siteKeys, func() string {
			if isVariable(n.name) && strings.ToUpper(n.name) == n.name {
				return ": a secret stands under [secrets]"
			}
			return ""
		})
	}
	return err
}

// profiles reads the overlays. They are not built yet, but what stands in them
// has to be right.
func (s *Site) profiles(n *node, value any) error {
	s.notBuilt(n.key, "profiles are")
	profiles, err := table(n, value, "profiles is a table of profiles")
	if err != nil {
		return err
	}
	for _, p := range n.keys {
		keys, err := table(p, profiles[p.name], "a profile is a table")
		if err != nil {
			return err
		}
		if p.name == "" {
			return fault{p.key, "a profile needs a name"}
		}
		profile := Profile{Name: p.name}
		for _, k := range p.keys {
			if k.name != "secrets" {
				return unknown(k, profileKeys, nil)
			}
			if profile.Secrets, err = s.secrets(k, keys[k.name]); err != nil {
				return err
			}
		}
		s.Profiles = append(s.Profiles, profile)
	}
	return nil
}

// secrets reads a table of them.
func (s *Site) secrets(n *node, value any) ([]Secret, error) {
	values, err := table(n, value, "secrets is a table: [secrets]")
	if err != nil {
		return nil, err
	}
	var secrets []Secret
	folded := map[string]string{}
	variables := map[string]string{}
	for _, k := range n.keys {
		if problem := variableProblem(k.name); problem != "" {
			return nil, fault{k.key, quoted(k.name) + problem}
		}
		if twin := folded[strings.ToLower(k.name)]; twin != "" {
			return nil, fault{k.key, quoted(k.name) + " and " + quoted(twin) + " differ only in letter case"}
		}
		folded[strings.ToLower(k.name)] = k.name
		secret, err := s.secret(k, values[k.name])
		if err != nil {
			return nil, err
		}
		if other := variables[secret.Variable()]; other != "" {
			return nil, fault{secret.variableAt, quoted(secret.Name) + " gets the same variable as " + quoted(other)}
		}
		variables[secret.Variable()] = secret.Name
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

func (s *Site) secret(n *node, value any) (Secret, error) {
	secret := Secret{Name: n.name, From: []string{""}, As: AsEnv, Required: true, Confirm: ConfirmNever, variableAt: n.key}
	switch v := value.(type) {
	case string:
		err := secret.take(n, v)
		return secret, err
	case map[string]any:
		for _, k := range n.keys {
			if err := s.secretKey(&secret, k, v[k.name]); err != nil {
				return secret, err
			}
		}
		if secret.As == AsTmpfile && len(secret.Variables()) > 0 { // the daemon makes it, and has no value for it
			return secret, fault{n.index["as"].value, `what comes from env: is given as "env" or as "file"`}
		}
		return secret, nil
	}
	return secret, fault{n.value, "a secret is a source in quotes or a table"}
}

func (s *Site) secretKey(secret *Secret, n *node, value any) (err error) {
	switch n.name {
	case "from":
		err = secret.take(n, value)
	case "ttl":
		secret.TTL, err = ttl(n, value)
		secret.ttlAt = n.value
	case "for":
		secret.For, err = commands(n, value)
	case "as":
		secret.As, err = choice(n, value, AsEnv, AsFile, AsTmpfile)
	case "env":
		if secret.Env, err = text(n, value); err != nil {
			return err
		}
		secret.variableAt = n.value
		if problem := variableProblem(secret.Env); problem != "" {
			return fault{n.value, "env" + problem}
		}
	case "required":
		var ok bool
		if secret.Required, ok = value.(bool); !ok {
			return fault{n.value, "required is true or false"}
		}
	case "confirm":
		secret.Confirm, err = choice(n, value, ConfirmNever, ConfirmSession, ConfirmAlways)
	case "default":
		var plain string
		plain, err = text(n, value)
		secret.Default = &plain
	case "description":
		secret.Description, err = text(n, value)
	default:
		return unknown(n, secretKeys, func() string {
			if n.name == execScheme {
				return ": it stands in from, from = { exec = […] }"
			}
			return ""
		})
	}
	return err
}

// take reads a source or an array of them.
func (secret *Secret) take(n *node, value any) error {
	const what = "from is a source in quotes, a table with exec, or an array of them"
	sources, items := []any{value}, []*node{n}
	if list, ok := value.([]any); ok && len(list) == len(n.items) {
		sources, items = list, n.items
	}
	secret.From = nil
	for i, value := range sources {
		source, ok := value.(string)
		if table, isTable := value.(map[string]any); isTable {
			var err error
			if source, err = execSource(items[i], table); err != nil {
				return err
			}
			ok = true
		}
		if !ok {
			return fault{items[i].value, what}
		}
		if strings.ContainsRune(source, 0) {
			return fault{items[i].value, "a source holds no NUL"}
		}
		if _, err := ParseSource(source); err != nil {
			return fault{items[i].value, err.Error()}
		}
		secret.From = append(secret.From, source)
	}
	if len(secret.From) == 0 {
		return fault{n.value, what}
	}
	return nil
}

// commands reads prefixes of commands. No prefix is nil only where there is no key.
func commands(n *node, value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok || len(list) != len(n.items) {
		return nil, fault{n.value, "for is an array of commands in quotes"}
	}
	prefixes := []string{}
	for i, value := range list {
		prefix, ok := value.(string)
		if !ok || strings.TrimSpace(prefix) == "" || strings.ContainsRune(prefix, 0) {
			return nil, fault{n.items[i].value, "for is an array of commands in quotes"}
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

func table(n *node, value any, what string) (map[string]any, error) {
	values, ok := value.(map[string]any)
	if !ok {
		return nil, fault{n.value, what}
	}
	return values, nil
}

func text(n *node, value any) (string, error) {
	s, ok := value.(string)
	switch {
	case !ok:
		return "", fault{n.value, n.name + " is a text in quotes"}
	case strings.ContainsRune(s, 0):
		return "", fault{n.value, n.name + " holds no NUL"}
	}
	return s, nil
}

func ttl(n *node, value any) (time.Duration, error) {
	word, _ := value.(string)
	d, ok := duration(word)
	if !ok {
		return 0, fault{n.value, ttlWords}
	}
	return d, nil
}

func choice(n *node, value any, words ...string) (string, error) {
	got, _ := value.(string)
	for _, word := range words {
		if got == word {
			return word, nil
		}
	}
	last := len(words) - 1
	return "", fault{n.value, n.name + ` is "` + strings.Join(words[:last], `", "`) + `" or "` + words[last] + `"`}
}

// unknown names what the key may have been meant for: known, or else what more
// says.
func unknown(n *node, known []string, more func() string) error {
	what := "unknown key " + quoted(n.name)
	switch near := nearest(n.name, known); {
	case near != "":
		what += `, did you mean "` + near + `"?`
	case more != nil:
		what += more()
	}
	return fault{n.key, what}
}

func (s *Site) notBuilt(at int, what string) {
	s.unbuilt = append(s.unbuilt, fault{at, what + " not built yet"})
}
