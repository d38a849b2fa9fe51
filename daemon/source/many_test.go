package source

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"keyrack/worksite"
)

func TestPointed(t *testing.T) {
	const text = `{"a":[{"n":"x","v":"1"},{"n":"y/z","v":"2"},{"n":3}],"s":"{\"k\":\"5\",\"l\":[7]}","t":"text","z":null,"0=0":"9"}`
	for pointers, want := range map[string]string{
		"/a/n=x/v":         "1",
		"/a/n=y~1z/v":      "2",
		"/a/n=w/v":         "it has nothing there",
		"/a/n=3/n":         "3",
		"/a/0/v":           "1",
		"/a/=/v":           "it has nothing there",
		"/s/k":             "5",
		"/s/l/0":           "7",
		"/s":               `{"k":"5","l":[7]}`,
		"/t/k":             "it has nothing there",
		"/0=0":             "9",
		"/b\n/a/n=x/v\n/t": "1",
		"/b\n/c":           "it has nothing there",
		"/z\n/t":           "text",
		"/b\n!/s\n/t":      "it has nothing there",
		"/b\n!/c\n/t":      "text",
		"/s/k\n!/s\n/t":    "5",
	} {
		got, err := pointed([]byte(text), pointers)
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != want {
			t.Errorf("%q is %q, not %q", pointers, got, want)
		}
	}
}

func TestVariable(t *testing.T) {
	const environ = "A=1\x00AB=2\n3\x00C=\x00"
	for name, want := range map[string]string{"A": "1", "AB": "2\n3", "C": "", "B": "it has no such variable"} {
		got, err := variable([]byte(environ), name)
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
}

// Where a tool can answer for many, all sources of the scheme are one batch, up to
// what it takes at once, and what names the same thing is counted once.
func TestBatchesOfMany(t *testing.T) {
	var all []worksite.Source
	for i := range 12 {
		for _, key := range []string{"a", "b"} {
			all = append(all, worksite.Source{Scheme: "aws-ssm", Path: fmt.Sprint("n", i), Field: key})
		}
		all = append(all, worksite.Source{Scheme: "op", Path: fmt.Sprint("v/i/", i)}, worksite.Source{Scheme: "vault", Path: "m/p", Field: fmt.Sprint(i)},
			worksite.Source{Scheme: "doppler", Path: fmt.Sprint("p/c/", i)})
	}
	var sizes []int
	for _, batch := range Batches(all) {
		sizes = append(sizes, len(batch))
	}
	if want := []int{20, 12, 12, 12, 4}; !slices.Equal(sizes, want) {
		t.Errorf("batches of %v, not %v", sizes, want)
	}
}

// One process answers for all. What it has not is asked for by itself, which hides
// nothing of the rest; where nobody is logged in nothing more is run.
func TestAskMany(t *testing.T) {
	const batch = `
echo "$2 $#" >>runs
case $2 in
batch-get-secret-value) echo '{"SecretValues":[{"Name":"a","SecretString":"{\"k\":\"1\"}"},{"Name":"b","ARN":"arn:b","SecretString":"2"}],"Errors":[{"SecretId":"c"}]}' ;;
get-secret-value) [ "$6" = d ] && echo '{"Name":"d","SecretString":"4"}' || { echo 'An error occurred (ResourceNotFoundException): none' >&2; exit 254; } ;;
esac`
	for name, tt := range map[string]struct {
		script string
		texts  []string
		want   string
		runs   string
	}{
		"all":          {batch, []string{"aws-sm://a#k", "aws-sm://b", "aws-sm://arn:b"}, "1|2|2", "batch-get-secret-value 8\n"},
		"one of one":   {batch, []string{"aws-sm://d"}, "4", "get-secret-value 6\n"},
		"field absent": {batch, []string{"aws-sm://a#k", "aws-sm://a#l", "aws-sm://b"}, "1|absent: aws-sm://a#l: it has nothing there|2", "batch-get-secret-value 7\n"},
		"left out":     {batch, []string{"aws-sm://a#k", "aws-sm://c", "aws-sm://d"}, "1|absent: aws-sm://c: An error occurred (ResourceNotFoundException): none|4", "batch-get-secret-value 8\nget-secret-value 6\nget-secret-value 6\n"},
		"batch refused": {`echo "$2" >>runs; [ $2 = get-secret-value ] || { echo 'An error occurred (AccessDeniedException): batch' >&2; exit 254; }; echo '{"SecretString":"'$6'"}'`,
			[]string{"aws-sm://a", "aws-sm://b"}, "a|b", "batch-get-secret-value\nget-secret-value\nget-secret-value\n"},
		"logged out": {`echo "$2" >>runs; echo 'Unable to locate credentials' >&2; exit 253`, []string{"aws-sm://a", "aws-sm://b"},
			"down: aws-sm://a: Unable to locate credentials: first, in a terminal: aws sso login|down: aws-sm://b: Unable to locate credentials: first, in a terminal: aws sso login", "batch-get-secret-value\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tools, place := withTool(t, tt.script)
			if err := os.Rename(place.Dir+"/pass", place.Dir+"/aws"); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(ask(t, tools, place, tt.texts...), "|"); got != tt.want {
				t.Errorf("got %q, not %q", got, tt.want)
			}
			if runs, _ := os.ReadFile(place.Dir + "/runs"); string(runs) != tt.runs {
				t.Errorf("ran %q, not %q", runs, tt.runs)
			}
		})
	}
}

// A reference is never taken for the value that it leads to.
func TestLeftAsGiven(t *testing.T) {
	tools, place := withTool(t, `[ $1 = run ] && shift 3 && exec "$@"; echo "of $2"`)
	if err := os.Rename(place.Dir+"/pass", place.Dir+"/op"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ask(t, tools, place, "op://a/b/c", "op://a/b/d"), "|"); got != "of op://a/b/c|of op://a/b/d" {
		t.Errorf("got %q", got)
	}
}

func TestErrorLine(t *testing.T) {
	for said, want := range map[string]string{
		"\na\nb":                      "a",
		"a\nError: b\nc":              "Error: b",
		"Unable\nDoppler Error: no\n": "Doppler Error: no",
		"no errors\n[ERROR] x: y\n":   "[ERROR] x: y",
		"Error: \n   0: gone\n\nx":    "Error: 0: gone",
		"Error making API request.\n\nCode: 403. Errors:\n\n* permission denied":                                 "Error making API request. * permission denied",
		"\n╭──╮\n│      │\n│  Request: GET x │\n│  Response Code: 404 │\n│  Message: Folder not found   │\n│  │": "Message: Folder not found",
		"": "",
	} {
		if got := errorLine([]byte(said)); string(got) != want {
			t.Errorf("%q: %q, not %q", said, got, want)
		}
	}
}

// A store that can't be reached leaves the value to the next source, one that refuses
// does not.
func TestUnreachable(t *testing.T) {
	for said, want := range map[string]bool{
		`Get "https://v:8200/v1/x": dial tcp 127.0.0.1:8200: connect: connection refused`:      true,
		`Get "https://v:8200/v1/x": dial tcp: lookup v: no such host`:                          true,
		`Could not connect to the endpoint URL: "https://ssm.eu-west-1.amazonaws.com/"`:        true,
		`request to https://x/ failed, reason: getaddrinfo EAI_AGAIN x`:                        true,
		`ERROR: (gcloud.x) PERMISSION_DENIED: Permission denied for resource`:                  false,
		`An error occurred (AccessDeniedException) when calling the GetSecretValue operation:`: false,
	} {
		p := toolOf("gcp-sm").explain(worksite.Source{Scheme: "gcp-sm", Path: "a/b"}, "gcloud", 1, []byte(said))
		if p.Down != want || p.Absent || p.Text != "gcloud: "+said {
			t.Errorf("%q: %+v", said, p)
		}
	}
}

// A tool sees the variables of its own row, also those that only begin so.
func TestEnvironOfTool(t *testing.T) {
	environ := []string{"HOME=/h", "AWS_PROFILE=a", "AWS_ENDPOINT_URL_SSM=f", "AWS_SECRET_ACCESS_KEY=g", "OP_SESSION_x=b", "XOP=c", "HTTPS_PROXY=d", "GNUPGHOME=e"}
	for scheme, want := range map[string]string{
		"aws-sm": "HOME=/h AWS_PROFILE=a AWS_ENDPOINT_URL_SSM=f AWS_SECRET_ACCESS_KEY=g XOP=c HTTPS_PROXY=d",
		"op":     "HOME=/h AWS_SECRET_ACCESS_KEY=g OP_SESSION_x=b XOP=c HTTPS_PROXY=d",
		"pass":   "HOME=/h AWS_SECRET_ACCESS_KEY=g XOP=c GNUPGHOME=e",
	} {
		if got := strings.Join(toolOf(scheme).environ(environ), " "); got != want {
			t.Errorf("%s sees %q, not %q", scheme, got, want)
		}
	}
}

func TestCommands(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	var sources []worksite.Source
	for _, text := range []string{"op://a/b/c", "vault://m/p#x", "op://a/b/d", "vault://m/p#y", "bws://1", "file:x"} {
		s, err := worksite.ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, s)
	}
	var got []string
	for _, argv := range Commands(sources, Place{Dir: "/w", Home: "/h"}) {
		got = append(got, strings.Join(argv, " "))
	}
	want := []string{
		"env KEYRACK_0=op://a/b/c KEYRACK_1=op://a/b/d op run --no-masking -- env -0", "op read op://a/b/c", "op read op://a/b/d",
		"vault kv get -format json -- m/p", "vault kv get -format json -- m/p", "bws --color no --output json secret get 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("runs %q, not %q", got, want)
	}
}
