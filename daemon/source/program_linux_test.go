package source

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"keyrack/worksite"
)

// approvedJob is a job for argv in a directory of its own, with the files approved as
// they are.
func approvedJob(t testing.TB, script string, argv ...string) job {
	t.Helper()
	j := job{argv: argv, dir: t.TempDir(), approved: map[string]string{}}
	if err := os.WriteFile(j.dir+"/script", []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, word := range argv {
		sum, err := worksite.Sum(j.dir, word, i == 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if sum != "" {
			j.approved[word] = sum
		}
	}
	return j
}

// What was looked at is what runs, whatever the file is by then: another one in its
// place, or the same one written anew.
func TestProgramCantBeSwapped(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	scripts := map[string]string{"script": "#!/bin/sh\necho approved\n", "binary": string(binary)}
	swaps := map[string]func(path string) error{
		"replaced":  func(path string) error { return os.Rename(path+"2", path) },
		"rewritten": func(path string) error { return os.WriteFile(path, []byte("#!/bin/sh\necho swapped\n"), 0o700) },
		"removed":   os.Remove,
	}
	for kind, script := range scripts {
		for name, swap := range swaps {
			t.Run(kind+" "+name, func(t *testing.T) {
				j := approvedJob(t, script, "./script")
				if err := os.WriteFile(j.dir+"/script2", []byte("#!/bin/sh\necho swapped\n"), 0o700); err != nil {
					t.Fatal(err)
				}
				cmd, o := j.command()
				if cmd == nil {
					t.Fatalf("%+v", o)
				}
				defer closeAll(cmd.ExtraFiles)
				if err := swap(filepath.Join(j.dir, "script")); err != nil {
					t.Fatal(err)
				}
				cmd.Stdin = strings.NewReader("approved\n")
				out, err := cmd.CombinedOutput()
				if err != nil || string(out) != "approved\n" {
					t.Errorf("it ran %q, %v", out, err)
				}
				if again, o := j.command(); again != nil || o.Changed != "./script" {
					t.Errorf("and after that %+v, %+v", again, o)
				}
			})
		}
	}
}

// While it runs nobody of the same user can write into the copy either.
func TestProgramCopyIsSealed(t *testing.T) {
	j := approvedJob(t, "#!/bin/sh\necho approved\n", "./script")
	cmd, o := j.command()
	if cmd == nil {
		t.Fatalf("%+v", o)
	}
	defer closeAll(cmd.ExtraFiles)
	file, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", cmd.ExtraFiles[0].Fd()), os.O_RDWR, 0)
	if err == nil { // root may open it
		defer file.Close()
		if _, err = file.Write([]byte("x")); err == nil {
			t.Error("it was written")
		}
		if err = file.Truncate(0); err == nil {
			t.Error("it was cut")
		}
		if err = unix.Fallocate(int(file.Fd()), 0, 0, 1<<16); err == nil {
			t.Error("it grew")
		}
	}
}

// What is no program does not run, and says what it is.
func TestProgramRefused(t *testing.T) {
	t.Run("argument", func(t *testing.T) {
		j := approvedJob(t, "echo approved", "sh", "script", "no-file", ".")
		cmd, o := j.command()
		if cmd == nil || len(cmd.ExtraFiles) > 0 {
			t.Fatalf("%+v", o)
		}
		if err := os.WriteFile(j.dir+"/no-file", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if cmd, o := j.command(); cmd != nil || o.Changed != "no-file" {
			t.Errorf("%+v", o)
		}
	})
	t.Run("FIFO", func(t *testing.T) {
		j := approvedJob(t, "", "./script")
		if err := os.Remove(j.dir + "/script"); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(j.dir+"/script", 0o700); err != nil {
			t.Fatal(err)
		}
		if cmd, o := j.command(); cmd != nil || !strings.Contains(o.Problem, "not a regular file") {
			t.Errorf("%+v", o)
		}
	})
	t.Run("too big", func(t *testing.T) {
		j := approvedJob(t, "#!/bin/sh\n", "./script")
		if err := os.Truncate(j.dir+"/script", worksite.MaxProgram+1); err != nil {
			t.Fatal(err)
		}
		if cmd, o := j.command(); cmd != nil || !strings.Contains(o.Problem, "over 64 MiB") {
			t.Errorf("%+v", o)
		}
	})
}

// BenchmarkProgram is what it takes to look at a script of 4 KiB and to copy it.
func BenchmarkProgram(b *testing.B) {
	j := approvedJob(b, "#!/bin/sh\n"+strings.Repeat("#", 4<<10), "./script")
	for b.Loop() {
		cmd, o := j.command()
		if cmd == nil {
			b.Fatalf("%+v", o)
		}
		closeAll(cmd.ExtraFiles)
	}
}
