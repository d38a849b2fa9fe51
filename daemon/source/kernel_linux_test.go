package source

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTimeoutOfKey(t *testing.T) {
	const keys = `01a62ea9 I------     1 perm 1f030000     0     0 keyring   .dns_resolver: empty
0000002a I--Q---     1  59m 3f010000  1000  1000 user      a b: 5
3a4f93fb I--Q---     1   0s 3f010000  1000  1000 user      now: 5
2b4dc301 I--Q---     1 expd 3f010000  1000  1000 user      was: 5
2b4dc302 I--Q---     1   3w 3f010000  1000  1000 user      long
2b4dc303 I--Q---     1   3y 3f010000  1000  1000 user      longer
2b4dc304 I--Q---
`
	for id, want := range map[int]time.Duration{0x01a62ea9: 0, 42: 59 * time.Minute, 0x3a4f93fb: 1, 0x2b4dc302: 21 * 24 * time.Hour, 0x2b4dc303: -1, 0x2b4dc304: -1, 7: -1} {
		got, err := timeoutIn(strings.NewReader(keys), id)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%x: %s (%v), want %s", id, got, err, want)
		}
	}
	if _, err := timeoutIn(strings.NewReader(keys), 0x2b4dc301); !errors.Is(err, unix.EKEYEXPIRED) {
		t.Error(err)
	}
}

// A word of /proc/keys is a time that is not negative, or an error.
func FuzzParseTimeout(f *testing.F) {
	for _, word := range []string{"perm", "expd", "0s", "59m", "23h", "6d", "9999999w", "s", "-1s", "1"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if word == "" { // strings.Fields gives none
			return
		}
		left, err := parseTimeout(word)
		if left < 0 || err == nil && left == 0 && word != "perm" {
			t.Errorf("%q: %s, %v", word, left, err)
		}
	})
}
