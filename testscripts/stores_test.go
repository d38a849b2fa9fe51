package testscripts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdStore serves the API of a store of secrets, for the real tool of it, which it
// also sets the variables for. Each request is a line in $WORK/store.log.
//
//	store aws NAME=VALUE...       Secrets Manager, parameters where NAME begins with a slash, and
//	                              STS, for the keys AKIAGOOD and, of a role, ASIAROLE
//	store doppler PROJECT/CONFIG NAME=VALUE...    for the token dp.good
func cmdStore(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: store aws|doppler ...")
	}
	s := &store{log: filepath.Join(worldOf(ts).work, "store.log"), values: map[string]string{}}
	for _, pair := range args[1:] {
		name, value, _ := strings.Cut(pair, "=")
		s.values[name] = value
	}
	if args[0] == "doppler" {
		s.of, _, _ = strings.Cut(args[1], "=")
		delete(s.values, s.of)
		server := httptest.NewServer(http.HandlerFunc(s.doppler))
		ts.Defer(server.Close)
		ts.Setenv("DOPPLER_API_HOST", server.URL)
		return
	}
	// Older aws can't be given another server, but a proxy to it.
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.aws))
	certificate, text := certificateOf(ts, "*.eu-west-1.amazonaws.com", "sts.amazonaws.com")
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	ts.Defer(server.Close)
	proxy := httptest.NewServer(tunnel(server.Listener.Addr().String()))
	ts.Defer(proxy.Close)
	bundle := ts.MkAbs("aws.pem")
	ts.Check(os.WriteFile(bundle, text, 0o600))
	ts.Setenv("AWS_CA_BUNDLE", bundle)
	ts.Setenv("HTTPS_PROXY", proxy.URL)
	ts.Setenv("AWS_DEFAULT_REGION", "eu-west-1")
}

// tunnel leads to address whoever asks for a way to any other.
func tunnel(address string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		to, err := net.Dial("tcp", address)
		if err != nil || r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		from, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			to.Close()
			return
		}
		go func() {
			io.Copy(to, buffered)
			to.Close()
		}()
		io.Copy(from, to)
		from.Close()
	}
}

// certificateOf makes a certificate for names, which is its own authority.
func certificateOf(ts *testscript.TestScript, names ...string) (tls.Certificate, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	ts.Check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

type store struct {
	log    string
	of     string
	values map[string]string
	mu     sync.Mutex // of the log
}

func (s *store) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(s.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		f.Close()
	}
	if err != nil {
		panic(err)
	}
}

func (s *store) aws(w http.ResponseWriter, r *http.Request) {
	target := r.Header.Get("X-Amz-Target")
	_, action, _ := strings.Cut(target, ".")
	key := awsKey.FindStringSubmatch(r.Header.Get("Authorization"))
	if action == "" && r.FormValue("Action") == "AssumeRole" {
		s.say("AssumeRole")
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprint(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>`+
			`<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2038-01-01T00:00:00Z</Expiration>`+
			`</Credentials></AssumeRoleResult></AssumeRoleResponse>`)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	fail := func(kind, message string) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": message})
	}
	if key == nil || key[1] != "AKIAGOOD" && key[1] != "ASIAROLE" {
		s.say(action + " by nobody")
		fail("UnrecognizedClientException", "The security token included in the request is invalid.")
		return
	}
	var q struct {
		SecretID       string `json:"SecretId"`
		SecretIDList   []string
		Name           string
		Names          []string
		WithDecryption bool
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		fail("ValidationException", "no JSON")
		return
	}
	names := slices.Concat(q.SecretIDList, q.Names)
	s.say(fmt.Sprintf("%s %d", action, max(1, len(names))))
	var found, missing []any
	for _, name := range names {
		value, ok := s.values[name]
		switch {
		case !ok && q.Names != nil:
			missing = append(missing, name)
		case !ok:
			missing = append(missing, map[string]string{"SecretId": name, "ErrorCode": "ResourceNotFoundException", "Message": "not there"})
		case q.Names != nil:
			found = append(found, parameter(name, value, q.WithDecryption))
		default:
			found = append(found, map[string]string{"Name": name, "ARN": "arn:aws:secretsmanager:eu-west-1:1:secret:" + name + "-AbCdEf", "SecretString": value})
		}
	}
	value, ok := s.values[q.SecretID+q.Name]
	switch action {
	case "GetSecretValue":
		if !ok {
			fail("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"Name": q.SecretID, "SecretString": value})
	case "GetParameter":
		if !ok {
			fail("ParameterNotFound", "")
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"Parameter": parameter(q.Name, value, q.WithDecryption)})
	case "BatchGetSecretValue":
		json.NewEncoder(w).Encode(map[string]any{"SecretValues": found, "Errors": missing})
	case "GetParameters":
		json.NewEncoder(w).Encode(map[string]any{"Parameters": found, "InvalidParameters": missing})
	default:
		fail("UnknownOperationException", "")
	}
}

func parameter(name, value string, open bool) map[string]string {
	if !open {
		value = "AQICAH="
	}
	return map[string]string{"Name": name, "Type": "SecureString", "Value": value}
}

func (s *store) doppler(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	of := r.FormValue("project") + "/" + r.FormValue("config")
	s.say(r.URL.Path + " " + of)
	w.Header().Set("Content-Type", "application/json")
	fail := func(code int, message string) {
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(map[string]any{"messages": []string{message}, "success": false})
	}
	switch {
	case token != "dp.good":
		fail(http.StatusUnauthorized, "Invalid Auth token")
	case r.URL.Path != "/v3/configs/config/secrets/download":
		fail(http.StatusNotFound, "no such thing")
	case of != s.of:
		fail(http.StatusNotFound, "Could not find requested config '"+r.FormValue("config")+"'")
	default:
		json.NewEncoder(w).Encode(s.values)
	}
}

// cmdBare sets PATH to a directory that has these programs and no others, so that what
// else a machine has does not count.
//
//	bare PROGRAM...
func cmdBare(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(filepath.Join(worldOf(ts).work, "bare"))
	ts.Check(os.MkdirAll(dir, 0o700))
	for _, name := range args {
		found := ""
		for _, at := range filepath.SplitList(ts.Getenv("PATH")) {
			if info, err := os.Stat(filepath.Join(at, name)); err == nil && info.Mode().IsRegular() {
				found = filepath.Join(at, name)
				break
			}
		}
		ts.Check(os.Symlink(found, filepath.Join(dir, name)))
	}
	ts.Setenv("PATH", dir)
}
