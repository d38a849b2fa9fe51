package cmd

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

var oddEnvironment = [][2]string{{"XDG_DATA_HOME", "/da ta%h/é'<&>"}, {"XDG_STATE_HOME", "/state"}}

// oddProgram is this program under a path that takes quoting.
func oddProgram(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "pro gram%t<&;#>")
	program := filepath.Join(dir, "keyrack")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Symlink(exe, program)); err != nil {
		t.Fatal(err)
	}
	return program
}

// systemd itself reads the files, as they are in the tree and as they are written.
func TestSystemdUnitsParse(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("systemd is on Linux alone")
		return
	}
	verify := func(paths ...string) string {
		t.Helper()
		cmd := exec.Command("systemd-analyze", append([]string{"verify", "--user", "--man=no"}, paths...)...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
			t.Fatal("systemd-analyze (package systemd): ", err)
		}
		return string(out)
	}
	out := verify("units/keyrack.socket", "units/keyrack.service")
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "Command "+exampleProgram+" is not executable") {
			t.Errorf("as they are in the tree: %s", line)
		}
	}
	units, err := systemdUnits(t.TempDir(), oddProgram(t), oddEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, u := range units {
		if err := u.write(); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, u.path)
	}
	if out := verify(paths...); out != "" {
		t.Errorf("as they are written: %s", out)
	}
	service := units[1].text
	for _, want := range []string{"/pro gram%%t<&;#>/keyrack\" daemon run --shared\n", "Environment=\"XDG_DATA_HOME=/da ta%%h/é'<&>\"\nEnvironment=\"XDG_STATE_HOME=/state\"\n"} {
		if strings.Count(service, want) != 1 {
			t.Errorf("no %q in\n%s", want, service)
		}
	}
	if strings.Contains(service, "/usr/local") {
		t.Errorf("an example is left:\n%s", service)
	}
	for _, odd := range []string{"/a\nb", `/a"b`, "/a'b", `/a\b`, "/a$b", "/a\xffb"} {
		if _, err := systemdUnits("/x", odd, nil); err == nil {
			t.Errorf("%q as the program", odd)
		}
	}
}

// The property list is read as launchd reads it: a dictionary of keys and values.
func TestLaunchdJobParses(t *testing.T) {
	job := plist(t, launchdJob)
	if job["Label"] != "keyrack" || job["ProgramArguments"] != exampleProgram+"|daemon|run" || job["KeepAlive"] != "SuccessfulExit|false" {
		t.Errorf("as it is in the tree: %q", job)
	}
	program := oddProgram(t)
	units, err := launchdUnits(t.TempDir(), program, oddEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	job = plist(t, units[0].text)
	if job["ProgramArguments"] != program+"|daemon|run" || job["EnvironmentVariables"] != "XDG_DATA_HOME|/da ta%h/é'<&>|XDG_STATE_HOME|/state" || job["RunAtLoad"] != "true" {
		t.Errorf("as it is written: %q", job)
	}
}

// plist reads the dictionary of a property list: texts, names of other elements,
// and what is in nested ones with a | between.
func plist(t *testing.T, text string) map[string]string {
	t.Helper()
	job := map[string]string{}
	decoder := xml.NewDecoder(strings.NewReader(text))
	var key, value string
	var path []string
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return job
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		add := func(word string) {
			if value != "" {
				value += "|"
			}
			value += word
		}
		switch token := token.(type) {
		case xml.StartElement:
			path = append(path, token.Name.Local)
			if name := token.Name.Local; name == "true" || name == "false" {
				add(name)
			}
		case xml.CharData:
			if in := path[max(0, len(path)-1):]; len(path) > 0 && (in[0] == "string" || in[0] == "integer" || in[0] == "key" && len(path) > 3) {
				add(string(token))
			} else if len(path) == 3 && in[0] == "key" {
				key, value = string(token), ""
			}
		case xml.EndElement:
			path = path[:len(path)-1]
			if len(path) == 2 && token.Name.Local != "key" {
				job[key] = value
			}
		}
	}
}

// What somebody wrote or changed by hand is left, and then nothing is done.
func TestUnitsOfOthersAreLeft(t *testing.T) {
	for name, c := range map[string]struct {
		change func(text string) string
		ours   bool
	}{
		"as written":       {func(text string) string { return text }, true},
		"another version":  {func(string) string { return signed("# ", "\n", "[Unit]\n") }, true},
		"a line more":      {func(text string) string { return text + "Nice=5\n" }, false},
		"a line less":      {func(text string) string { return text[:strings.LastIndex(text[:len(text)-1], "\n")+1] }, false},
		"another":          {func(string) string { return "[Unit]\n" }, false},
		"empty":            {func(string) string { return "" }, false},
		"a signature gone": {func(text string) string { _, rest, _ := strings.Cut(text, "\n"); return rest }, false},
	} {
		dir := t.TempDir()
		units, err := systemdUnits(dir, "/usr/bin/keyrack", nil)
		if err != nil {
			t.Fatal(err)
		}
		last := units[1]
		if err := os.WriteFile(last.path, []byte(c.change(last.text)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = writeUnits(units)
		if changed, is := errors.AsType[errChanged](err); is == c.ours || is && changed.path != last.path {
			t.Errorf("%s: writing: %v", name, err)
		}
		if _, err := os.Stat(units[0].path); (err == nil) != c.ours {
			t.Errorf("%s: the other file: %v", name, err)
		}
		found, err := ours(units)
		if (err == nil) != c.ours || c.ours && len(found) != 2 {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
	job, err := launchdUnits("/x", "/usr/bin/keyrack", nil)
	if err != nil || !unchanged(job[0].text) || unchanged(strings.Replace(job[0].text, "run", "ran", 1)) {
		t.Errorf("the signature of a property list: %v", err)
	}
}
