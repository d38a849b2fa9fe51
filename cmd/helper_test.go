package cmd

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzQuoteJSON(f *testing.F) {
	for _, text := range []string{"", "plain", "a\"b\\c\td/ä=\n\r\x01\x1f\x7f\u2028<&>"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		var back string
		if err := json.Unmarshal(quoteJSON([]byte(text)), &back); err != nil || back != text {
			t.Errorf("%q comes back as %q, %v", text, back, err)
		}
	})
}

func TestRegistryOf(t *testing.T) {
	for text, want := range map[string]string{
		"https://index.docker.io/v1/": dockerHub, "index.docker.io": dockerHub, "docker.io": dockerHub, "registry-1.docker.io": dockerHub,
		"ghcr.io": "https://ghcr.io", "https://ghcr.io/v2/": "https://ghcr.io", "GHCR.io:443": "https://ghcr.io",
		"localhost:5000": "https://localhost:5000", "http://localhost:5000": "http://localhost:5000",
		"": "", "https://": "", "user:pw@ghcr.io": "", "ftp://ghcr.io": "", "a b": "",
	} {
		if got := registryOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestGitRowWithoutServer(t *testing.T) {
	for _, request := range []string{"", "\n", "protocol=ssh\nhost=h\n", "host=h\n", "protocol=https\n", "protocol\nhost", strings.Repeat("x", 2*maxRequest)} {
		if r, err := gitRow(strings.NewReader(request)); r != nil || err != nil {
			t.Errorf("%.40q: %v, %v", request, r, err)
		}
	}
}

func TestHelperOf(t *testing.T) {
	for called, want := range map[string]string{"keyrack": "", "/x/git-credential-keyrack": "git", "docker-credential-keyrack": "docker", "": "",
		"/x/keyrack-npm-npm.example.com:8": "npm npm.example.com:8", "keyrack-npm-": ""} {
		if got := strings.Join(helperOf(called), " "); got != want {
			t.Errorf("%q: %q, want %q", called, got, want)
		}
	}
}
