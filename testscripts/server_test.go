package testscripts

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdServe starts a server that wants credentials until the script ends, and sets
// $SERVER to its URL. Each request is a line in $WORK/server.log: what of the script's
// secrets it brought, by label.
//
//	serve git           git-http-backend for the repositories below $WORK/repos, with basic auth
//	serve aws           STS, for a request that is signed with an access key id of the script's
//	serve pip           an index with one package, with basic auth
//	serve npm           a registry with one package, for a bearer token
//	serve kubernetes    over TLS, for a bearer token; $CA is its certificate, in base64
//	serve postgres      for psql and a password of the script's; sets PGHOST and PGPORT instead
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: serve git|aws|pip|npm|kubernetes|postgres")
	}
	s := &server{work: worldOf(ts).work}
	if args[0] == "postgres" {
		s.postgres(ts)
		return
	}
	kinds := map[string]http.HandlerFunc{"git": s.git(ts), "aws": s.aws, "pip": s.pip, "npm": s.npm, "kubernetes": s.kubernetes}
	handler := kinds[args[0]]
	if handler == nil {
		ts.Fatalf("serve: no such server: %s", args[0])
	}
	var listening *httptest.Server
	if args[0] == "kubernetes" {
		listening = httptest.NewTLSServer(handler)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listening.Certificate().Raw})
		ts.Setenv("CA", base64.StdEncoding.EncodeToString(ca))
	} else {
		listening = httptest.NewServer(handler)
	}
	ts.Defer(listening.Close)
	ts.Setenv("SERVER", listening.URL)
}

type server struct {
	work string
	mu   sync.Mutex // of the log
}

// label is the label of a secret of the script, "" where value is none.
func (s *server) label(value string) string {
	sum := sha256.Sum256([]byte(value))
	known, _ := os.ReadFile(filepath.Join(s.work, ".secrets"))
	for line := range strings.Lines(string(known)) {
		if label, ok := strings.CutPrefix(line, hex.EncodeToString(sum[:])+" "); ok {
			return strings.TrimSpace(label)
		}
	}
	return ""
}

func (s *server) log(r *http.Request, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(filepath.Join(s.work, "server.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(f, "%s %s %s %s\n", r.Method, r.Host, r.URL.Path, what)
		f.Close()
	}
	if err != nil {
		panic(err)
	}
}

func (s *server) git(ts *testscript.TestScript) http.HandlerFunc {
	path, err := exec.Command("git", "--exec-path").Output()
	ts.Check(err)
	backend := cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + s.work + "/repos", "GIT_HTTP_EXPORT_ALL=1", "HOME=" + s.work + "/home"}}
	return func(w http.ResponseWriter, r *http.Request) {
		if s.basic(w, r) {
			backend.ServeHTTP(w, r)
		}
	}
}

func (s *server) pip(w http.ResponseWriter, r *http.Request) {
	if s.basic(w, r) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<a href="/x-1.5-py3-none-any.whl">x-1.5-py3-none-any.whl</a>`)
	}
}

// basic says whether a request has a secret of the script's as its password.
func (s *server) basic(w http.ResponseWriter, r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	label := s.label(password)
	switch {
	case !ok:
		s.log(r, "nobody")
	case label == "":
		s.log(r, "unknown password")
	default:
		s.log(r, user+" "+label)
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

var awsKey = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/.*Signature=[0-9a-f]{64}$`)

func (s *server) aws(w http.ResponseWriter, r *http.Request) {
	key := awsKey.FindStringSubmatch(r.Header.Get("Authorization"))
	if key == nil || s.label(key[1]) == "" {
		s.log(r, "nobody")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	s.log(r, s.label(key[1])+" "+s.label(r.Header.Get("X-Amz-Security-Token")))
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprint(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>`+
		`<Arn>arn:aws:iam::1:user/tester</Arn><UserId>U</UserId><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
}

// bearer gives answer to who brings a secret of the script's as a token.
func (s *server) bearer(w http.ResponseWriter, r *http.Request, answer string) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	label := s.label(token)
	if label == "" {
		s.log(r, "nobody")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.log(r, label)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, answer)
}

func (s *server) kubernetes(w http.ResponseWriter, r *http.Request) {
	s.bearer(w, r, `{"major":"1","minor":"32"}`)
}

func (s *server) npm(w http.ResponseWriter, r *http.Request) {
	s.bearer(w, r, `{"name":"x","dist-tags":{"latest":"1.5.0"},"versions":{"1.5.0":{"name":"x","version":"1.5.0",`+
		`"dist":{"tarball":"http://`+r.Host+`/x.tgz","integrity":"sha512-`+strings.Repeat("A", 86)+`=="}}}}`)
}
