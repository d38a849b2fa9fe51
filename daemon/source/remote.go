package source

import (
	"regexp"
	"slices"
)

// remote are the rows of the tools that ask a server. Each sees the variables that it
// reads itself, some of which are secrets: docs/sources.md lists them.
var remote = []tool{
	{
		scheme: "aws-sm",
		argv:   []string{"aws", "secretsmanager", "get-secret-value", "--output", "json", "--secret-id", "{path}"},
		format: formatJSON,
		field:  "/SecretString/{field}",
		many: &many{
			argv:   []string{"aws", "secretsmanager", "batch-get-secret-value", "--output", "json", "--secret-id-list", "{path}"},
			format: formatJSON,
			field:  "/SecretValues/Name={path}/SecretString/{field}\n/SecretValues/ARN={path}/SecretString/{field}",
			most:   20,
		},
		env:       online(awsVariables...),
		absent:    regexp.MustCompile(`\(ResourceNotFoundException\)`),
		loggedOut: awsLoggedOut,
		login:     "aws sso login",
		get:       awsGet,
	},
	{
		scheme: "aws-ssm",
		argv:   []string{"aws", "ssm", "get-parameter", "--with-decryption", "--output", "json", "--name", "{path}"},
		format: formatJSON,
		field:  "/Parameter/Value/{field}",
		many: &many{
			argv:   []string{"aws", "ssm", "get-parameters", "--with-decryption", "--output", "json", "--names", "{path}"},
			format: formatJSON,
			field:  "/Parameters/Name={path}/Value/{field}\n/Parameters/ARN={path}/Value/{field}",
			most:   10,
		},
		env:       online(awsVariables...),
		absent:    regexp.MustCompile(`\(Parameter(Version)?NotFound\)`),
		loggedOut: awsLoggedOut,
		login:     "aws sso login",
		get:       awsGet,
	},
	{
		scheme:    "az-kv",
		argv:      []string{"az", "keyvault", "secret", "show", "--output", "json", "--vault-name", "{1}", "--name", "{2}"},
		format:    formatJSON,
		field:     "/value/{field}",
		env:       online("AZURE_*"),
		absent:    regexp.MustCompile(`SecretNotFound`),
		loggedOut: regexp.MustCompile(`az login|AADSTS`),
		login:     "az login",
		get:       "https://learn.microsoft.com/cli/azure/install-azure-cli",
	},
	{
		scheme:    "bw",
		argv:      []string{"bw", "--nointeraction", "get", "item", "--", "{path}"},
		format:    formatJSON,
		field:     "/login/{field}\n/fields/name={field}/value\n/{field}",
		env:       online("BW_*", "BITWARDENCLI_*"),
		absent:    regexp.MustCompile(`(?m)^Not found\.`),
		loggedOut: regexp.MustCompile(`Vault is locked|not logged in|vault is locked`),
		login:     `export BW_SESSION="$(bw unlock --raw || bw login --raw)" && keyrack daemon stop`,
		get:       "https://bitwarden.com/help/cli/",
	},
	{
		scheme: "bws",
		argv:   []string{"bws", "--color", "no", "--output", "json", "secret", "get", "{path}"},
		format: formatJSON,
		field:  "/value/{field}",
		many: &many{
			argv:   []string{"bws", "--color", "no", "--output", "json", "secret", "list"},
			format: formatJSON,
			field:  "/id={path}/value/{field}",
		},
		env:       online("BWS_*"),
		absent:    regexp.MustCompile(`404 Not Found|was not found`),
		loggedOut: regexp.MustCompile(`[Aa]ccess token|401 Unauthorized|invalid_client`),
		login:     "export BWS_ACCESS_TOKEN=TOKEN && keyrack daemon stop",
		get:       "https://bitwarden.com/help/secrets-manager-cli/",
	},
	{
		scheme:    "doppler",
		argv:      []string{"doppler", "secrets", "download", "--no-file", "--format", "json", "--no-fallback", "--no-check-version", "--project", "{1}", "--config", "{2}"},
		format:    formatJSON,
		field:     "/{field}",
		tail:      true,
		env:       online("DOPPLER_*"),
		absent:    regexp.MustCompile(`Could not find requested`),
		loggedOut: regexp.MustCompile(`provide a token|Invalid (Auth|Service|CLI) [Tt]oken|Invalid token|Unauthorized`),
		login:     "doppler login",
		get:       "https://docs.doppler.com/docs/install-cli",
	},
	{
		scheme:    "gcp-sm",
		argv:      []string{"gcloud", "secrets", "versions", "access", "latest", "--quiet", "--project", "{1}", "--secret", "{2}"},
		format:    formatJSON,
		field:     "/{field}",
		env:       online("CLOUDSDK_*"),
		absent:    regexp.MustCompile(`NOT_FOUND`),
		loggedOut: regexp.MustCompile(`gcloud auth login|[Rr]eauthentication|UNAUTHENTICATED`),
		login:     "gcloud auth login",
		get:       "https://cloud.google.com/sdk/docs/install",
	},
	{
		scheme:    "infisical",
		argv:      []string{"infisical", "export", "--silent", "--format", "json", "--projectId", "{1}", "--env", "{2}", "--path", "/{rest}"},
		format:    formatJSON,
		field:     "/key={field}/value",
		tail:      true,
		env:       online("INFISICAL_*"),
		absent:    regexp.MustCompile(`Folder with path .* not found|Secret path .* not found`),
		loggedOut: regexp.MustCompile(`infisical login|login session|Response Code: 401|status-code=401`),
		login:     "infisical login",
		get:       "https://infisical.com/docs/cli/overview",
	},
	{
		scheme: "op",
		argv:   []string{"op", "read", "op://{path}"},
		many: &many{
			argv:   []string{"env", "KEYRACK_{n}=op://{path}", "op", "run", "--no-masking", "--", "env", "-0"},
			format: formatEnviron,
			field:  "KEYRACK_{n}",
			given:  "op://{path}",
		},
		env:       online("OP_*"),
		absent:    regexp.MustCompile(`isn't (a vault|an item)|could not find item|couldn't find|does not have a field`),
		loggedOut: regexp.MustCompile(`not (currently )?signed in|session expired|No accounts configured|session token|authorization (timeout|prompt)|desktop app`),
		login:     `eval "$(op signin)" && keyrack daemon stop`,
		get:       "https://developer.1password.com/docs/cli/get-started/",
	},
	{
		scheme:  "vault",
		argv:    []string{"vault", "kv", "get", "-format", "json", "--", "{path}"},
		instead: "bao",
		format:  formatJSON,
		// Where there is a version, it is of the second kind of kv, whose fields stand one
		// deeper.
		field:     "/data/data/{field}\n!/data/metadata/version\n/data/{field}",
		expiry:    "/lease_duration",
		env:       online("VAULT_*", "BAO_*"),
		absent:    regexp.MustCompile(`No (value|data) found at`),
		loggedOut: regexp.MustCompile(`permission denied|missing client token|invalid token`),
		login:     "vault login",
		get:       "https://developer.hashicorp.com/vault/install, or https://openbao.org/docs/install/ for bao",
	},
}

const awsGet = "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"

var awsLoggedOut = regexp.MustCompile(`Unable to locate credentials|ExpiredToken|[Tt]oken has expired|aws (sso )?login|InvalidClientTokenId|UnrecognizedClientException|security token included in the request is`)

// awsVariables lead aws to credentials. Those that are some are left out: too often they
// are what keyrack gives to commands, one of which may start the daemon.
var awsVariables = []string{
	"AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
	"AWS_DEFAULT_PROFILE", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "AWS_ENDPOINT_URL*", "AWS_PROFILE", "AWS_REGION",
	"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_SHARED_CREDENTIALS_FILE", "AWS_USE_FIPS_ENDPOINT", "AWS_WEB_IDENTITY_TOKEN_FILE",
}

// online is own and the variables by which programs find their way to a server.
func online(own ...string) []string {
	return append(slices.Clone(own), "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
}
