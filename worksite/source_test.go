package worksite

import (
	"strings"
	"testing"
)

func TestParseSource(t *testing.T) {
	for text, want := range map[string]Source{
		`exec:["a"]`:               {"exec", `["a"]`, ""},
		`exec:["a","#\n<"]#/b`:     {"exec", `["a","#\n<"]`, "/b"},
		`exec:["a"]#/b/0#/c`:       {"exec", `["a"]`, "/b/0#/c"},
		"":                         {},
		"env:CI_TOKEN":             {"env", "CI_TOKEN", ""},
		"kernel:app: key":          {"kernel", "app: key", ""},
		"file:a":                   {"file", "a", ""},
		"file:/a b.json#/c/#d":     {"file", "/a b.json", "/c/#d"},
		"dotenv:.env#A_1":          {"dotenv", ".env", "A_1"},
		"age:s/api.age":            {"age", "s/api.age", ""},
		"pass:acme/db":             {"pass", "acme/db", ""},
		"keyring:a/b/c":            {"keyring", "a/b/c", ""},
		"sops:a b.yaml#/c/0":       {"sops", "a b.yaml", "/c/0"},
		"k8s://dev/db#tls.crt":     {"k8s", "dev/db", "tls.crt"},
		"gopass:acme/db#user":      {"gopass", "acme/db", "user"},
		"op://Dev/My item/a/b":     {"op", "Dev/My item/a/b", ""},
		"op://a/b/c?attribute=otp": {"op", "a/b/c?attribute=otp", ""},
		"aws-sm://app/db#user":     {"aws-sm", "app/db", "user"},
		"aws-sm://arn:aws:secretsmanager:eu-west-1:1:secret:a/b-AbCdEf": {"aws-sm", "arn:aws:secretsmanager:eu-west-1:1:secret:a/b-AbCdEf", ""},
		"aws-sm://rds!db-1#/a/b":  {"aws-sm", "rds!db-1", "/a/b"},
		"aws-ssm:///prod/key":     {"aws-ssm", "/prod/key", ""},
		"aws-ssm://key:3":         {"aws-ssm", "key:3", ""},
		"az-kv://v/n":             {"az-kv", "v/n", ""},
		"bw://my item#a b":        {"bw", "my item", "a b"},
		"bws://1-2":               {"bws", "1-2", ""},
		"doppler://p/c/N":         {"doppler", "p/c/N", ""},
		"gcp-sm://p/n#k":          {"gcp-sm", "p/n", "k"},
		"infisical://p/dev/a/b/N": {"infisical", "p/dev/a/b/N", ""},
		"vault://secret/a/b#c":    {"vault", "secret/a/b", "c"},
		"pass:acme/db#*":          {"pass", "acme/db", "*"},
	} {
		got, err := ParseSource(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %+v (%s), %v", text, got, got, err)
		}
	}
}

func TestNoSource(t *testing.T) {
	const none = `a source is "", the rack, or begins with age:, aws-sm:, aws-ssm:, az-kv:, bw:, bws:, doppler:, dotenv:, env:, exec:, file:, gcp-sm:, gopass:, infisical:, k8s:, kernel:, keyring:, op:, pass:, sops:, vault:; a value itself is no source: keyrack set`
	for text, want := range map[string]string{
		"hunter2":                  none,
		":hunter2":                 none,
		"https://u:hunter2@x":      none,
		"fiel:hunter2":             `no such kind of source, did you mean "file:"?`,
		"PASS:hunter2":             `no such kind of source, did you mean "pass:"?`,
		"vaults://hunter2":         `no such kind of source, did you mean "vault:"?`,
		"env:hunter2-x":            "such a source is written env:NAME",
		"env:":                     "such a source is written env:NAME",
		"env:A#hunter2":            "such a source is written env:NAME",
		"exec:hunter2":             "such a source is written " + execForm,
		`exec:["hunter2"`:          "such a source is written " + execForm,
		`exec:["hunter2",null]`:    "such a source is written " + execForm,
		`exec:["hunter2"]x`:        "such a source is written " + execForm,
		`exec:["hunter2"]#a`:       "such a source is written " + execForm,
		`exec:["hunter2"]#/a#`:     "such a source is written " + execForm,
		`exec:["hunter2"]#/a#/b#/`: "such a source is written " + execForm,
		`exec:[]`:                  "a command begins with a program",
		`exec:["--hunter2"]`:       "a program begins with no -",
		`exec:["hunter2\u0000"]`:   "a command holds no NUL",
		"pass:":                    "such a source is written pass:NAME or pass:NAME#*",
		"pass:hunter2#":            "such a source is written pass:NAME or pass:NAME#*",
		"pass:hunter2#login":       "such a source is written pass:NAME or pass:NAME#*",
		"age:hunter2#x":            "such a source is written age:FILE",
		"dotenv:hunter2":           "such a source is written dotenv:FILE#NAME",
		"dotenv:hunter2#1":         "such a source is written dotenv:FILE#NAME",
		"file:hunter2#a/b":         "such a source is written file:FILE or file:FILE#/json/pointer",
		"keyring:hunter2":          "such a source is written keyring:SERVICE/ACCOUNT",
		"keyring:hunter2/":         "such a source is written keyring:SERVICE/ACCOUNT",
		"gopass:hunter2#-a":        "such a source is written gopass:NAME or gopass:NAME#KEY",
		"k8s://hunter2#a":          "such a source is written k8s://NAMESPACE/SECRET#KEY",
		"k8s://a/hunter2":          "such a source is written k8s://NAMESPACE/SECRET#KEY",
		"k8s://a/-hunter2#a":       "such a source is written k8s://NAMESPACE/SECRET#KEY",
		"k8s://a/b/hunter2#a":      "such a source is written k8s://NAMESPACE/SECRET#KEY",
		"k8s:///hunter2#a":         "such a source is written k8s://NAMESPACE/SECRET#KEY",
		"sops:hunter2":             "such a source is written sops:FILE#KEY or sops:FILE#/json/pointer",
		"pass:--hunter2":           "what a source names begins with no -",
		"pass:hunter2\n":           "a source holds no control characters",
		"op://hunter2/x":           "such a source is written op://VAULT/ITEM/FIELD or op://VAULT/ITEM/SECTION/FIELD",
		"op://hunter2/x/$y":        "such a source is written op://VAULT/ITEM/FIELD or op://VAULT/ITEM/SECTION/FIELD",
		"op://a/-hunter2/x":        "such a source is written op://VAULT/ITEM/FIELD or op://VAULT/ITEM/SECTION/FIELD",
		"aws-sm://file:///hunter2": "such a source is written aws-sm://ID or aws-sm://ID#KEY",
		"aws-sm://https://hunter2": "such a source is written aws-sm://ID or aws-sm://ID#KEY",
		"aws-sm://[\"hunter2\"]":   "such a source is written aws-sm://ID or aws-sm://ID#KEY",
		"aws-sm://hunter2 --debug": "such a source is written aws-sm://ID or aws-sm://ID#KEY",
		"aws-ssm://prod/hunter2":   "such a source is written aws-ssm://NAME or aws-ssm:///PATH/NAME, or that with #KEY",
		"az-kv://hunter2":          "such a source is written az-kv://VAULT/NAME or az-kv://VAULT/NAME#KEY",
		"az-kv://v/-hunter2":       "such a source is written az-kv://VAULT/NAME or az-kv://VAULT/NAME#KEY",
		"bw://hunter2":             "such a source is written bw://ITEM#FIELD",
		"bw://--hunter2#x":         "what a source names begins with no -",
		"bws://hunter2/x":          "such a source is written bws://ID or bws://ID#KEY",
		"doppler://hunter2/x":      "such a source is written doppler://PROJECT/CONFIG/NAME",
		"gcp-sm://hunter2":         "such a source is written gcp-sm://PROJECT/NAME or gcp-sm://PROJECT/NAME#KEY",
		"infisical://p//hunter2":   "such a source is written infisical://PROJECT/ENV/NAME or infisical://PROJECT/ENV/FOLDER/NAME",
		"vault://secret/hunter2":   "such a source is written vault://MOUNT/PATH#FIELD",
		"vault://hunter2#x":        "such a source is written vault://MOUNT/PATH#FIELD",
		"kernel:hunter2#a":         "such a source is written kernel:DESCRIPTION",
		strings.Repeat("x", 9<<10): none,
	} {
		_, err := ParseSource(text)
		if err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestSourcesHavePositions(t *testing.T) {
	for text, want := range map[string]string{
		"[secrets]\nA = 'fiel:hunter2'":                  `2:5: no such kind of source, did you mean "file:"?`,
		"[secrets]\nA = { from = ['', 'age:h#u', 'x'] }": `2:19: such a source is written age:FILE`,
		"[secrets]\nA = { from = 'pass:a\u007f' }":       "2:21: control character 0x7f",
	} {
		root := write(t, text)
		if _, err := Read(root); err == nil || err.Error() != root+"/.keyrack.toml:"+want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}
