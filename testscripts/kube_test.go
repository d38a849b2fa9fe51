package testscripts

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdKube serves what kubectl asks of a cluster for a secret, and sets KUBECONFIG to
// a file that leads there. Only who has the token of the file is answered.
//
//	kube NAMESPACE/SECRET KEY=VALUE...
func cmdKube(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: kube NAMESPACE/SECRET KEY=VALUE...")
	}
	data := map[string]string{}
	for _, pair := range args[1:] {
		key, value, _ := strings.Cut(pair, "=")
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	namespace, name, _ := strings.Cut(args[0], "/")
	list := map[string]any{"kind": "APIVersions", "versions": []string{"v1"}}
	resources := map[string]any{"kind": "APIResourceList", "groupVersion": "v1", "resources": []any{
		map[string]any{"name": "secrets", "singularName": "secret", "namespaced": true, "kind": "Secret", "verbs": []string{"get"}}}}
	answers := map[string]any{
		"/api": list, "/apis": map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{}}, "/api/v1": resources,
		"/api/v1/namespaces/" + namespace: map[string]any{"kind": "Namespace", "apiVersion": "v1", "metadata": map[string]any{"name": namespace}},
		"/api/v1/namespaces/" + namespace + "/secrets/" + name: map[string]any{"kind": "Secret", "apiVersion": "v1",
			"metadata": map[string]any{"name": name, "namespace": namespace}, "type": "Opaque", "data": data},
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		status := func(code int, reason, message string) {
			w.WriteHeader(code)
			json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
		}
		answer := answers[r.URL.Path]
		switch {
		case r.Header.Get("Authorization") != "Bearer a-token":
			status(http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		case answer == nil:
			status(http.StatusNotFound, "NotFound", `secrets "`+filepath.Base(r.URL.Path)+`" not found`)
		default:
			json.NewEncoder(w).Encode(answer)
		}
	}))
	ts.Defer(server.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := strings.NewReplacer("SERVER", server.URL, "AUTHORITY", base64.StdEncoding.EncodeToString(authority)).Replace(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: SERVER, certificate-authority-data: AUTHORITY}}]
users: [{name: u, user: {token: a-token}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`)
	file := ts.MkAbs("kubeconfig")
	ts.Check(os.WriteFile(file, []byte(config), 0o600))
	ts.Setenv("KUBECONFIG", file)
}
