package testscripts

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

var (
	tracedClone = regexp.MustCompile(`^\d+\s+(clone3?|v?fork)\(`)
	tracedExec  = regexp.MustCompile(`^\d+\s+execve(at)?\(.* = 0$|^\d+\s+<\.\.\. execve(at)? resumed>.* = 0$`)
	tracedOpen  = regexp.MustCompile(`^\d+\s+open(at)?\(.*"([^"]*)"`)
)

// cmdTraced counts what a shell opened with `shell -trace FILE` did between two
// of its visits to directories, after it has been closed; threads do not count:
//
//	traced FILE FROM TO    # stdout: clone=0 execve=0, and opened PATH for each file opened
//
// It counts from the first line with FROM to the first with TO. Both are parts of
// paths that nothing else uses: `type 'cd $WORK/mark1'` and the like.
func cmdTraced(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: traced FILE FROM TO")
	}
	lines := strings.Split(ts.ReadFile(args[0]), "\n")
	from, to := firstWith(lines, args[1]), firstWith(lines, args[2])
	if from < 0 || to < from {
		ts.Fatalf("traced: no lines from %s (%d) to %s (%d)", args[1], from, args[2], to)
	}
	clones, execs := 0, 0
	var opened strings.Builder
	for _, line := range lines[from+1 : to] {
		if tracedClone.MatchString(line) && !strings.Contains(line, "CLONE_THREAD") {
			clones++
		}
		if tracedExec.MatchString(line) {
			execs++
		}
		if m := tracedOpen.FindStringSubmatch(line); m != nil {
			fmt.Fprintf(&opened, "opened %s\n", m[2])
		}
	}
	fmt.Fprintf(ts.Stdout(), "clone=%d execve=%d\n%s", clones, execs, opened.String())
}

// firstWith is the first line of the shell's own first thread with part: what others do,
// such as those by which fish looks at files of its history, comes when it comes.
func firstWith(lines []string, part string) int {
	own, _, _ := strings.Cut(lines[0], " ")
	for i, line := range lines {
		if strings.HasPrefix(line, own+" ") && strings.Contains(line, part) {
			return i
		}
	}
	return -1
}
