package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"keyrack/daemon/wire"
)

func TestConfig(t *testing.T) {
	tests := []struct {
		name, text, want string // want is the error after the path, "" for none
	}{
		{"empty", "", ""},
		{"all", "max_ttl = \"1h30m\"\nidle = \"30m\"\nquiet = true\nstrict = true\n", ""},
		{"unknown key", "# my config\nmax_tll = \"1h\"\n", `:2:1: unknown key "max_tll": there are max_ttl, idle, quiet, strict, age_identity and helper`},
		{"letter case", "Quiet = true\n", `:1:1: unknown key "Quiet": there are max_ttl, idle, quiet, strict, age_identity and helper`},
		{"a table", "[quiet]\nx = 1\n", ":1:2: quiet is true or false"},
		{"indented", "quiet = true\n\t\"maß\" = 1\n", `:2:3: unknown key "maß": there are max_ttl, idle, quiet, strict, age_identity and helper`},
		{"a longer key first", "max_ttl_of_mine = 1\n", `:1:1: unknown key "max_ttl_of_mine": there are max_ttl, idle, quiet, strict, age_identity and helper`},
		{"no value", "quiet = true\nmax_ttl = \n", ":2:11: expected value but found '\\n' instead"},
		{"twice", "quiet = true\nquiet = true\n", ":2:1: Key 'quiet' has already been defined."},
		{"not a duration", "max_ttl = \"long\"\n", `:1:1: max_ttl is a duration such as "24h"`},
		{"a number", "\nmax_ttl = 24\n", `:2:1: max_ttl is a duration such as "24h"`},
		{"zero", "max_ttl = \"0s\"\n", `:1:1: max_ttl is a duration such as "24h"`},
		{"negative", "max_ttl = \"-1h\"\n", `:1:1: max_ttl is a duration such as "24h"`},
		{"not a truth", "strict = 1\n", ":1:1: strict is true or false"},
		{"not idle for long enough", "quiet = true\nidle = \"0s\"\n", `:2:1: idle is a duration such as "30m"`},
		{"a number of minutes", "idle = 30\n", `:1:1: idle is a duration such as "30m"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &config{path: filepath.Join(t.TempDir(), "config.toml")}
			if err := os.WriteFile(c.path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time from memory
				got, err := c.read()
				switch {
				case tt.want != "":
					if e := wantError(t, err, wire.Invalid, ""); e.Message != c.path+tt.want {
						t.Errorf("error %q", e.Message)
					}
				case err != nil:
					t.Error(err)
				case tt.name == "all" && (got.maxTTL != 90*time.Minute || got.idle != 30*time.Minute || !got.quiet || !got.strict):
					t.Errorf("%+v", got)
				case tt.name == "empty" && (got.maxTTL != 24*time.Hour || got.idle != 0 || got.quiet || got.strict):
					t.Errorf("%+v", got)
				}
			}
		})
	}
}

func TestConfigFileIsChecked(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	for name, tt := range map[string]struct {
		make func() error
		want string
	}{
		"others may write": {func() error {
			os.WriteFile(path, nil, 0o600)
			return os.Chmod(path, 0o666)
		}, "others may write it"},
		"a directory": {func() error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		"big":         {func() error { return os.WriteFile(path, make([]byte, maxConfig+1), 0o600) }, "over 64 KiB"},
		"broken":      {func() error { return os.WriteFile(path, []byte("quiet = \n"), 0o600) }, ":1:"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.make(); err != nil {
				t.Fatal(err)
			}
			_, err := (&config{path: path}).read()
			wantError(t, err, wire.Invalid, tt.want)
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		})
	}
	if got, err := (&config{path: path}).read(); err != nil || got.maxTTL != defaultMaxTTL {
		t.Errorf("no file: %+v, %v", got, err)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		8 * time.Hour: "8h", 8*time.Hour - time.Microsecond: "8h", 90 * time.Minute: "1h30m", time.Minute: "1m", 59 * time.Second: "59s",
		61 * time.Second: "1m1s", time.Millisecond: "1s", 0: "0s", -time.Second: "0s", 7*time.Hour + 59*time.Minute + time.Second: "8h",
	} {
		if got := span(d); got != want {
			t.Errorf("%d ns is %s, want %s", d, got, want)
		}
	}
}
