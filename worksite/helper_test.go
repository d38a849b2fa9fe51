package worksite

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

const twoSecrets = "name='n'\n[secrets]\nTOKEN={for=[]}\nKEY=''\n"

func TestHelpers(t *testing.T) {
	password := map[string]string{"password": "TOKEN"}
	for text, want := range map[string][]Helper{
		twoSecrets: nil,
		twoSecrets + "[[helper]]\nkind='git'\nhost='GitHub.com:443'\nusername='x'\npassword='TOKEN'\n[[helper]]\nhost='http://127.0.0.1:80'\nkind='git'\npassword='TOKEN'": {
			{Kind: "git", Host: "https://github.com", Username: "x", Secrets: password}, {Kind: "git", Host: "http://127.0.0.1", Secrets: password}},
		"helper=[{kind='docker',host='[::1]:5000',username='<token>',password='TOKEN'}]\n" + twoSecrets: {
			{Kind: "docker", Host: "https://[::1]:5000", Username: "<token>", Secrets: password}},
		twoSecrets + "[[helper]]\nkind='aws'\naccess_key_id='KEY'\nsecret_access_key='TOKEN'\nsession_token='TOKEN'\nname='dev'": {
			{Kind: "aws", Name: "dev", Secrets: map[string]string{"access_key_id": "KEY", "secret_access_key": "TOKEN", "session_token": "TOKEN"}}},
		twoSecrets + "[[helper]]\nkind='kubernetes'\ntoken='TOKEN'": {{Kind: "kubernetes", Secrets: map[string]string{"token": "TOKEN"}}},
		twoSecrets + "[[helper]]\nkind='askpass'\nprompt='a'\npassword='TOKEN'\n[[helper]]\nkind='askpass'\nprompt='b'\npassword='TOKEN'": {
			{Kind: "askpass", Prompt: "a", Secrets: password}, {Kind: "askpass", Prompt: "b", Secrets: password}},
		twoSecrets + "[[helper]]\nkind='cargo'\nindex='sparse+https://h/i/'\ntoken='TOKEN'": {
			{Kind: "cargo", Index: "sparse+https://h/i/", Secrets: map[string]string{"token": "TOKEN"}}},
	} {
		if got := read(t, write(t, text)).Helpers; !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\n got %+v\nwant %+v", text, got, want)
		}
	}
}

func TestHelpersRefused(t *testing.T) {
	const row = "[[helper]]\nkind='git'\nhost='h'\n"
	for text, want := range map[string]string{
		"helper='hunter2'":                                  "5:8: helper is an array of tables: [[helper]]",
		"[helper]\nkind='git'":                              "5:1: helper is an array of tables: [[helper]]",
		"helper=['hunter2']":                                "5:9: helper is an array of tables: [[helper]]",
		"[[helpr]]\nkind='git'":                             `5:1: unknown key "helpr", did you mean "helper"?`,
		"[[helper]]\nhost='h'":                              `5:1: a helper needs kind = "git", "aws", "docker", "kubernetes", "keyring", "terraform", "ansible", "askpass", "cargo", "npm"`,
		"[[helper]]\nkind='hunter2'":                        `6:6: kind is "git", "aws", "docker", "kubernetes", "keyring", "terraform", "ansible", "askpass", "cargo" or "npm"`,
		"[[helper]]\nkind=3":                                `6:6: kind is "git", "aws", "docker", "kubernetes", "keyring", "terraform", "ansible", "askpass", "cargo" or "npm"`,
		row:                                                 "5:1: a helper for git needs password",
		row + "password='hunter2'":                          "8:10: password is the name of a secret under [secrets]",
		row + "password='TOKN'":                             `8:10: password is the name of a secret under [secrets], did you mean "TOKEN"?`,
		row + "password='token'":                            `8:10: password is the name of a secret under [secrets], did you mean "TOKEN"?`,
		row + "pasword='TOKEN'":                             `8:1: unknown key "pasword", did you mean "password"?`,
		row + "password=['hunter2']":                        "8:10: password is a text in quotes",
		row + "password='TOKEN'\nusername=''":               "9:10: username is one line, and not empty",
		row + "password='TOKEN'\nusername=\"a\\nb\"":        "9:10: username is one line, and not empty",
		row + "password='TOKEN'\n[helper.x]\ny=1":           `9:9: unknown key "x"`,
		row + "password='TOKEN'\n" + row + "password='KEY'": "9:1: a row for the same stands above",
		row + "password='TOKEN'\n[[helper]]\nkind='git'\nhost='i'\ntoken=''":                       `12:1: unknown key "token"`,
		"[[helper]]\nkind='git'\npassword='TOKEN'\nhost='ssh://h'":                                 `8:6: host is a server, such as "github.com" or "http://localhost:3000"`,
		"[[helper]]\nkind='git'\npassword='TOKEN'\nhost='https://user:hunter2@h'":                  `8:6: host is a server, such as "github.com" or "http://localhost:3000"`,
		"[[helper]]\nkind='git'\npassword='TOKEN'\nhost='h/path'":                                  `8:6: host is a server, such as "github.com" or "http://localhost:3000"`,
		"[[helper]]\nkind='aws'\nhost='h'":                                                         `7:1: unknown key "host"`,
		"[[helper]]\nkind='aws'\naccess_key_id='KEY'":                                              "5:1: a helper for aws needs secret_access_key",
		"[[helper]]\nkind='docker'\nhost='h'\npassword='TOKEN'":                                    "5:1: a helper for docker needs username",
		"[[helper]]\nkind='kubernetes'\ntoken='TOKEN'\n[[helper]]\nkind='kubernetes'\ntoken='KEY'": "8:1: a row for the same stands above",
	} {
		full := twoSecrets + text
		if strings.HasPrefix(text, "helper=") {
			full = "name='n'\n\n\n\n" + text + "\n[secrets]\nTOKEN=''"
		}
		root := write(t, full)
		_, err := Read(root)
		if want := root + "/.keyrack.toml:" + want; err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%q: the error has a value", text)
		}
	}
}

func TestDiffOfHelpers(t *testing.T) {
	site := func(rows string) *Site { return read(t, write(t, twoSecrets+rows)) }
	git := "[[helper]]\nkind='git'\nhost='github.com'\nusername='me'\npassword='TOKEN'\n"
	aws := "[[helper]]\nkind='aws'\nname='dev'\naccess_key_id='KEY'\nsecret_access_key='TOKEN'\nsession_token='TOKEN'\n"
	for _, tt := range []struct {
		before, now *Site
		want        []string
	}{
		{nil, site(git + aws), []string{"+ TOKEN from rack, for keyrack exec and helpers alone", "+ KEY from rack",
			"+ helper git for github.com gives password TOKEN, as me", "+ helper aws for dev gives access_key_id KEY, secret_access_key TOKEN, session_token TOKEN"}},
		{site(git), site(aws + git), []string{"+ helper aws for dev gives access_key_id KEY, secret_access_key TOKEN, session_token TOKEN"}},
		{site(git), site(strings.Replace(git, "github.com", "http://evil.example", 1)),
			[]string{"+ helper git for http://evil.example gives password TOKEN, as me", "- helper git for github.com gives password TOKEN, as me"}},
		{site(git), site(strings.Replace(git, "'TOKEN'", "'KEY'", 1)),
			[]string{"+ helper git for github.com gives password KEY, as me", "- helper git for github.com gives password TOKEN, as me"}},
		{site(aws), site(strings.NewReplacer("'KEY'", "'TOKEN'", "'TOKEN'", "'KEY'").Replace(aws)),
			[]string{"+ helper aws for dev gives access_key_id TOKEN, secret_access_key KEY, session_token KEY", "- helper aws for dev gives access_key_id KEY, secret_access_key TOKEN, session_token TOKEN"}},
		{site(git + aws), site(git), []string{"- helper aws for dev gives access_key_id KEY, secret_access_key TOKEN, session_token TOKEN"}},
	} {
		if got := Diff(tt.before, tt.now); !slices.Equal(got, tt.want) {
			t.Errorf("got %q\nwant %q", got, tt.want)
		}
	}
}
