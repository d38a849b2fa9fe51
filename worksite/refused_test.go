package worksite

import (
	"strings"
	"testing"
	"time"
)

// marker stands for a value: no error may hold it.
const marker = "hunter2"

// refused are files that can't be used, and the error after the path.
var refused = []struct{ text, want string }{
	// The shape of the file.
	{"", "1:1: a worksite needs a table [secrets]"},
	{"# nothing\n\n", "1:1: a worksite needs a table [secrets]"},
	{"secrets = 'hunter2'", "1:11: secrets is a table: [secrets]"},
	{"[[secrets]]\nA = ''", "1:1: secrets is a table: [secrets]"},
	{"exprot = 'hunter2'\n[secrets]", `1:1: unknown key "exprot", did you mean "export"?`},
	{"Name = 'hunter2'\n[secrets]", `1:1: unknown key "Name", did you mean "name"?`},
	{"[secret]\nA = ''", `1:1: unknown key "secret", did you mean "secrets"?`},
	{"DATABASE_URL = 'hunter2'\n[secrets]", `1:1: unknown key "DATABASE_URL": a secret stands under [secrets]`},
	{"x.y = 1\n[secrets]", `1:1: unknown key "x"`},
	{"\"\\u001b[2J\" = 1", `1:1: unknown key "\x1b[2J"`},

	// The top level.
	{"name = 3\n[secrets]", "1:8: name is a text in quotes"},
	{"name = ''\n[secrets]", "1:8: a worksite's name is not empty"},
	{"name = 'Hunter2'\n[secrets]", "1:8: a worksite's name is made of a-z, 0-9, '.', '_', '/' and '-'"},
	{"name = '" + strings.Repeat("a", 201) + "'\n[secrets]", "1:8: a worksite's name has at most 200 characters"},
	{"ttl = 3600\n[secrets]", `1:7: ttl is a duration over 0, such as "15m"`},
	{"ttl = 'hunter2'\n[secrets]", `1:7: ttl is a duration over 0, such as "15m"`},
	{"ttl = '0s'\n[secrets]", `1:7: ttl is a duration over 0, such as "15m"`},
	{"ttl = '-1h'\n[secrets]", `1:7: ttl is a duration over 0, such as "15m"`},
	{"ttl = '99999999999h'\n[secrets]", `1:7: ttl is a duration over 0, such as "15m"`},
	{"export = 'hunter2'\n[secrets]", `1:10: export is "command" or "tree"`},
	{"export = true\n[secrets]", `1:10: export is "command" or "tree"`},

	// Names of secrets.
	{"[secrets]\n'' = 'hunter2'", `2:1: "" is no name`},
	{"[secrets]\n'A B' = 'hunter2'", `2:1: "A B" is no name of a variable: those are made of A-Z, a-z, 0-9 and _, and begin with no digit`},
	{"[secrets]\n1A = 'hunter2'", `2:1: "1A" is no name of a variable: those are made of A-Z, a-z, 0-9 and _, and begin with no digit`},
	{"[secrets]\n'a[$(id)]' = 'hunter2'", `2:1: "a[$(id)]" is no name of a variable: those are made of A-Z, a-z, 0-9 and _, and begin with no digit`},
	{"[secrets]\nÄ = ''", "2:1: a key should stand here"},
	{"[secrets.PATH]", `1:10: "PATH" may never be exported: it changes how programs load or shells behave`},
	{"[secrets]\nLD_PRELOAD = 'hunter2'", `2:1: "LD_PRELOAD" may never be exported: it changes how programs load or shells behave`},
	{"[secrets]\nKEYRACK_X = { env = 'A' }", `2:1: "KEYRACK_X" may never be exported: it changes how programs load or shells behave`},
	{"[secrets]\nAlpha = ''\nALPHA = ''", `3:1: "ALPHA" and "Alpha" differ only in letter case`},
	{"secrets.Alpha.env = 'X'\nsecrets.ALPHA.env = 'Y'", `2:9: "ALPHA" and "Alpha" differ only in letter case`},
	{"[secrets]\n" + strings.Repeat("A", 201) + " = ''", `2:1: "` + strings.Repeat("A", 200) + `…" is over 200 characters`},

	// What a secret is.
	{"[secrets]\nA = 3", "2:5: a secret is a source in quotes or a table"},
	{"[secrets]\nA = true", "2:5: a secret is a source in quotes or a table"},
	{"[secrets]\nA = ['hunter2']", "2:5: a secret is a source in quotes or a table"},
	{"[secrets]\n[[secrets.A]]\nfrom = ''", "2:11: a secret is a source in quotes or a table"},
	{"[secrets]\nA = { form = 'hunter2' }", `2:7: unknown key "form", did you mean "from"?`},
	{"[secrets]\nA = { Ttl = 'hunter2' }", `2:7: unknown key "Ttl", did you mean "ttl"?`},
	{"[secrets]\nA = { 'x y' = 'hunter2' }", `2:7: unknown key "x y"`},
	{"secrets.A.frm = 'hunter2'", `1:11: unknown key "frm", did you mean "from"?`},
	{"[secrets.A]\n  descripton = 'hunter2'", `2:3: unknown key "descripton", did you mean "description"?`},
	{"[secrets]\nA = {\n  env = 'B', # ä\n  what = 'hunter2' }", `4:3: unknown key "what"`},
	{"\ufeff[secrets]\r\nA = { ä = 1 }", "2:7: a key should stand here"},
	{"\ufeff[secrets]\r\n\r\nA = { 'ä' = 'ö', x = 1 }", `3:7: unknown key "ä"`},
	{"[secrets]\nA = { 'from' = 'pass:ö', x = 1 }", `2:26: unknown key "x"`},
	{"[secrets]\nA = { from = {} }", `2:14: a table in from has exec = ["COMMAND", "ARG"]`},
	{"[secrets]\nA = { from = { exec = 'hunter2' } }", "2:23: exec is an array of words in quotes: a program and its arguments"},
	{"[secrets]\nA = { from = { exec = ['a', 3] } }", "2:29: exec is an array of words in quotes: a program and its arguments"},
	{"[secrets]\nA = { from = { exec = [] } }", "2:23: a command begins with a program"},
	{"[secrets]\nA = { from = { exec = ['-hunter2'] } }", "2:23: a program begins with no -"},
	{"[secrets]\nA = { from = { exec = [\"a\", \"\\u0000\"] } }", "2:23: a command holds no NUL"},
	{"[secrets]\nA = { from = ['', { exec = ['a'], valeu = 'hunter2' }] }", `2:35: unknown key "valeu", did you mean "value"?`},
	{"[secrets]\nA = { from = { exec = ['a'], value = 'hunter2' } }", `2:38: value is a JSON pointer, such as "/token", without #`},
	{"[secrets]\nA = { from = { exec = ['a'], value = '/a#b' } }", `2:38: value is a JSON pointer, such as "/token", without #`},
	{"[secrets]\nA = { from = { exec = ['a'], expiry = '/hunter2' } }", "2:30: expiry needs value: both stand in JSON"},
	{"[secrets.A.from]\nvalue = '/hunter2'", `1:12: a table in from has exec = ["COMMAND", "ARG"]`},
	{"[[secrets.A.from]]\nexec = ['hunter2']", "1:13: from is a source in quotes, a table with exec, or an array of them"},
	{"[secrets]\nA = { from = [] }", "2:14: from is a source in quotes, a table with exec, or an array of them"},
	{"[secrets]\nA = { from = ['', 3] }", "2:19: from is a source in quotes, a table with exec, or an array of them"},
	{"[secrets]\nA = { from = [\n'pass:hunter2',\n # c\n  ['hunter2']] }", "5:3: from is a source in quotes, a table with exec, or an array of them"},
	{"[secrets]\nA = { from = [{a = 'hunter2'}] }", `2:16: unknown key "a"`},
	{"[secrets]\nA = \"hunter2\\u0000\"", "2:5: a source holds no NUL"},
	{"[secrets]\nA = { ttl =     'hunter2' }", `2:17: ttl is a duration over 0, such as "15m"`},
	{"[secrets]\nA = { for = 'hunter2' }", "2:13: for is an array of commands in quotes"},
	{"[secrets]\nA = { for = ['make', ' '] }", "2:22: for is an array of commands in quotes"},
	{"[secrets]\nA = { for = ['make', 1] }", "2:22: for is an array of commands in quotes"},
	{"[secrets]\nA = { as = 'hunter2' }", `2:12: as is "env", "file" or "tmpfile"`},
	{"[secrets]\nA = { as = 'tmpfile', from = ['', 'env:B'] }", `2:12: what comes from env: is given as "env" or as "file"`},
	{"[secrets]\nA = { confirm = 'hunter2' }", `2:17: confirm is "never", "session" or "always"`},
	{"[secrets]\nA = { required = 'hunter2' }", "2:18: required is true or false"},
	{"[secrets]\nA = { default = 2 }", "2:17: default is a text in quotes"},
	{"[secrets]\nA = { default = \"hunter2\\u0000\" }", "2:17: default holds no NUL"},
	{"[secrets]\nA = { description = ['hunter2'] }", "2:21: description is a text in quotes"},
	{"[secrets]\nA = { env = '' }", "2:13: env is no name"},
	{"[secrets]\nA = { env = 'hunter2 b' }", "2:13: env is no name of a variable: those are made of A-Z, a-z, 0-9 and _, and begin with no digit"},
	{"[secrets]\nA = { env = 'BASH_ENV' }", "2:13: env may never be exported: it changes how programs load or shells behave"},
	{"[secrets]\nA = ''\nB = { env = 'A' }", `3:13: "B" gets the same variable as "A"`},
	{"[secrets]\nB = { env = 'A' }\nA = ''", `3:1: "A" gets the same variable as "B"`},

	// Profiles.
	{"profiles = 1\n[secrets]", "1:12: profiles is a table of profiles"},
	{"[secrets]\n[profiles]\np = 'hunter2'", "3:5: a profile is a table"},
	{"[secrets]\n[profiles.p]\nsecret = 'hunter2'", `3:1: unknown key "secret", did you mean "secrets"?`},
	{"[secrets]\n[profiles.''.secrets]", "2:11: a profile needs a name"},
	{"[secrets]\n[profiles.p.secrets]\nA = { form = 'hunter2' }", `3:7: unknown key "form", did you mean "from"?`},

	// TOML itself.
	{"[secrets]\nA = 'hunter2", "2:5: this string is never closed"},
	{"[secrets]\nA = \"hunter2\nB = \"\"", "2:5: this string is never closed"},
	{"[secrets]\nA = '''hunter2\n\n", "2:5: this string is never closed"},
	{"[secrets]\nA = \"\"\"hunter2\\", "2:15: unknown escape"},
	{"[secrets]\nA = \"hunter2\\q\"", "2:13: unknown escape"},
	{"[secrets]\nA = \"hunter2\\", "2:13: unknown escape"},
	{"[secrets]\nA = \"hunter2\\ \"", "2:13: unknown escape"},
	{"[secrets]\nA = \"hunter2\\u00", "2:13: unknown escape"},
	{"[secrets]\nA = \"hunter2\\ud800\"", "2:13: this escape stands for no character"},
	{"[secrets]\nA = hunter2", "2:5: not a TOML value: a string stands in quotes"},
	{"[secrets]\nA = $hunter2", "2:5: not a TOML value: a string stands in quotes"},
	{"[secrets]\nA = ", "2:5: a value is missing"},
	{"[secrets]\nA = # hunter2", "2:5: a value is missing"},
	{"[secrets]\nA", "2:2: a key needs = and a value"},
	{"[secrets]\n= 'hunter2'", "2:1: a key should stand here"},
	{"[secrets]\nA = 'hunter2' 'hunter2'", "2:15: the line should end here"},
	{"[secrets]\nA = '' = hunter2", "2:8: the line should end here"},
	{"[secrets] hunter2", "1:11: the line should end here"},
	{"[secrets\nA = ''", "1:9: a table's header needs ]"},
	{"[[secrets]\nA = ''", "1:10: a table's header needs ]]"},
	{"[]", "1:2: a key should stand here"},
	{"[secrets]\nA = { from = ['hunter2'\n", "2:14: this bracket is never closed"},
	{"[secrets]\nA = {", "2:5: this bracket is never closed"},
	{"[secrets]\nA = ['hunter2' 'hunter2']", "2:16: a comma or ] should stand here"},
	{"[secrets]\nA = { env = 'B' ttl = '1h' }", "2:17: a comma or } should stand here"},
	{"[secrets]\nA = 'hunter2'\nA = 'hunter2'", "3:1: this key stands here for the second time"},
	{"[secrets]\n'A' = 'hunter2'\n'A' = 'hunter2'", "3:1: this key stands here for the second time"},
	{"[secrets]\nA = { ttl = '1h', ttl = 'hunter2' }", "2:19: this key stands here for the second time"},
	{"[secrets]\n[secrets]", "2:2: this key stands here for the second time"},
	{"[secrets]\nA = ''\n[secrets.A]", "3:2: this key stands here for the second time"},
	{"[secrets]\nA = 1_", "2:5: not a TOML value"},
	{"[secrets]\nA = 2024-99-99", "2:5: not a TOML value"},
	{"[secrets]\nA = 99999999999999999999", "2:5: not a TOML value"},
	{"a" + strings.Repeat(".a", 16) + " = 1", "1:33: nested too deeply"},
	{"a = " + strings.Repeat("[", 40), "1:21: nested too deeply"},
	{strings.Repeat("a={", 40), "1:49: nested too deeply"},
	{"[" + strings.Repeat("a.", 30000) + "a]", "1:34: nested too deeply"},

	// Bytes that TOML has nowhere.
	{"[secrets]\nA = 'hun\x00ter2'", "2:9: control character 0x00"},
	{"[secrets]\n# \x1b[2J", "2:3: control character 0x1b"},
	{"[secrets]\n# \x7f", "2:3: control character 0x7f"},
	{"[secrets]\r# a", "1:10: control character 0x0d"},
	{"[secrets]\nA = 'ä\xffhunter2'", "2:7: not UTF-8: byte 0xff"},
	{"\xff\xfe[\x00s\x00", "1:1: not UTF-8: byte 0xff"},
}

func TestRefused(t *testing.T) {
	for _, tt := range refused {
		root := write(t, tt.text)
		_, err := Read(root)
		if want := root + "/.keyrack.toml:" + tt.want; err == nil || err.Error() != want {
			t.Errorf("%.60q:\n got %v\nwant %s", tt.text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%.60q: the error has a value", tt.text)
		}
	}
}

func TestUnbuilt(t *testing.T) {
	for text, want := range map[string]string{
		"[secrets]\nA = ''\nB = { from = [''], as = 'env', confirm = 'never', env = 'C', default = '', required = false }": "",
		"[secrets]\nA = { for = ['make'] }":                                         "",
		"[secrets]\nA = { for = [] }":                                               "",
		"[secrets]\nA = { as = 'file' }":                                            "",
		"[secrets]\nA = { confirm = 'session' }":                                    "",
		"[secrets]\nA = { confirm = 'always' }":                                     "",
		"[secrets]\nA = ''\n[profiles.dev.secrets]\nA = 'kernel:hunter2'":           "3:1: profiles are not built yet",
		"[profiles]\n[secrets]":                                                     "1:1: profiles are not built yet",
		"secrets.A.ttl = '1h'\nsecrets.B.as = 'file'\nsecrets.A.confirm = 'always'": "",
	} {
		site := read(t, write(t, text))
		got := ""
		if err := site.Unbuilt(); err != nil {
			got = strings.TrimPrefix(err.Error(), site.Root+"/.keyrack.toml:")
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}

func TestCheckTTL(t *testing.T) {
	for text, want := range map[string]string{
		"[secrets]\nA = ''":                                                            "",
		"ttl = '24h'\n[secrets]\nA = { ttl = '24h' }":                                  "",
		"ttl = '25h'\n[secrets]\nA = ''":                                               "1:7: ttl of 25h is over max_ttl, 24h",
		"ttl = '1h'\n[secrets]\nB = ''\nA = { ttl = '24h1s' }":                         "4:13: ttl of 24h0m1s is over max_ttl, 24h",
		"[secrets]\nA = { ttl = '1561m' }\nB = { ttl = '99h' }":                        "2:13: ttl of 26h1m is over max_ttl, 24h",
		"secrets.A.ttl = '99h'\nttl = '25h'":                                           "1:17: ttl of 99h is over max_ttl, 24h",
		"secrets.A.env = 'X'\nsecrets.B.ttl = '99h'\nttl = '25h'\nsecrets.A.ttl='25h'": "2:17: ttl of 99h is over max_ttl, 24h",
	} {
		site := read(t, write(t, text))
		got := ""
		if err := site.CheckTTL(24 * time.Hour); err != nil {
			got = strings.TrimPrefix(err.Error(), site.Root+"/.keyrack.toml:")
		}
		if got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
}
