package cmd

import (
	"fmt"
	"strings"
	"testing"
)

// A line of a start-up file calls the hook, for one shell or for whatever shell, or
// does not.
func TestHookInStartFile(t *testing.T) {
	for line, want := range map[string]string{
		`eval "$(keyrack hook bash)"`:                                                    "bash",
		`eval "$('/a b/bin/keyrack' hook zsh --client)"`:                                 "zsh",
		"\tkeyrack hook fish | source":                                                   "fish",
		`[ -x ~/go/bin/keyrack ] && eval "$(~/go/bin/keyrack hook --before debug bash)"`: "bash",
		`eval "$(keyrack hook "$(basename "$SHELL")")"`:                                  "any",
		`eval "$(keyrack  hook ${SHELL##*/})"`:                                           "any",
		`[ ${#x} = 1 ] && eval "$(keyrack hook bash)"`:                                   "bash",
		`# eval "$(keyrack hook bash)"`:                                                  "none",
		`true; # eval "$(keyrack hook bash)"`:                                            "none",
		`eval "$(keyrack hook bash --off)"`:                                              "none",
		`eval "$(direnv hook bash)"`:                                                     "none",
		`eval "$(mykeyrack hook bash)"`:                                                  "none",
		`alias kh='keyrack hooks'`:                                                       "none",
		"":                                                                               "none",
	} {
		shell, ok := hookIn(line)
		got := shell
		switch {
		case !ok:
			got = "none"
		case shell == "":
			got = "any"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

// What there is much of is cut; a command that mends several lines in turn stands once.
func TestDoctorFitsOneScreen(t *testing.T) {
	d := &checkup{}
	d.ok("rack", "opens")
	for i := range 40 {
		d.ok(partSecret, "S%02d held", i)
	}
	for i := range 30 {
		d.warn(partSecret, "keyrack unlock", "L%02d is locked", i)
	}
	d.broken(partSecret, "keyrack set M", "M: not in the rack")
	var text strings.Builder
	r := d.report()
	if err := r.write(&text); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("keyrack: rack          ok       opens\n" +
		"keyrack: secret        ok       S00 held; S01 held; S02 held; S03 held; S04 held; S05 held; and 34 more\n")
	for i := range perPart {
		fmt.Fprintf(&want, "keyrack: secret        warning  L%02d is locked\n", i)
	}
	want.WriteString("keyrack unlock\n" +
		"keyrack: secret        warning  and 25 more\nkeyrack doctor --json\n" +
		"keyrack: secret        broken   M: not in the rack\nkeyrack set M\n" +
		"keyrack: 1 broken, 30 warnings\n")
	if text.String() != want.String() {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want.String())
	}
	if r.OK || len(r.Checks) != 72 {
		t.Errorf("ok %v, %d checks", r.OK, len(r.Checks))
	}
}
