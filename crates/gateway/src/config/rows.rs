//! The rows of the subsystems that belong to the server itself, in the order an export shows them.
//!
//! Names, defaults and whether a change needs a restart are those that clients of MinIO know; the sentences
//! are ours. `acted_upon` says whether this build does what a row says: the others are checked, kept and
//! given back, so that an export of another server can be imported whole.

use notify::KeyKind::{self, Csv, Duration, Number, Path, Sentence, Switch, Text, Url};
use tidings_notify as notify;

/// A subsystem.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) env_older: &'static [&'static str],
    pub(super) has_targets: bool,
    pub(super) is_dynamic: bool,
    pub(super) is_acted_upon: bool,
    pub(super) keys: &'static [RowKey],
}

/// A key of a subsystem.
pub(super) struct RowKey {
    pub(super) name: &'static str,
    pub(super) kind: KeyKind,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    /// The end of its environment name, when that is not its name in upper case.
    pub(super) env: &'static str,
    pub(super) env_older: &'static [&'static str],
    pub(super) is_required: bool,
    pub(super) is_secret: bool,
    pub(super) is_hidden: bool,
}

const fn row(name: &'static str, help: &'static str, keys: &'static [RowKey]) -> Row {
    Row { name, help, env_older: &[], has_targets: false, is_dynamic: true, is_acted_upon: false, keys }
}

impl Row {
    const fn with_targets(mut self) -> Row {
        self.has_targets = true;
        self
    }

    const fn after_restart(mut self) -> Row {
        self.is_dynamic = false;
        self
    }

    const fn acted_upon(mut self) -> Row {
        self.is_acted_upon = true;
        self
    }

    const fn env_older(mut self, names: &'static [&'static str]) -> Row {
        self.env_older = names;
        self
    }
}

const fn key(name: &'static str, kind: KeyKind, default: &'static str, help: &'static str) -> RowKey {
    RowKey {
        name,
        kind,
        default,
        help,
        env: "",
        env_older: &[],
        is_required: false,
        is_secret: false,
        is_hidden: false,
    }
}

impl RowKey {
    const fn required(mut self) -> RowKey {
        self.is_required = true;
        self
    }

    const fn secret(mut self) -> RowKey {
        self.is_secret = true;
        self
    }

    const fn hidden(mut self) -> RowKey {
        self.is_hidden = true;
        self
    }

    const fn env(mut self, end: &'static str) -> RowKey {
        self.env = end;
        self
    }

    const fn env_older(mut self, names: &'static [&'static str]) -> RowKey {
        self.env_older = names;
        self
    }
}

const COMMENT: RowKey = key("comment", Sentence, "", "a note for people");
const SWITCH: RowKey = key("enable", Switch, "off", "whether this target is used").required();
const CERTIFICATE: RowKey = key("client_cert", Path, "", "certificate to show to the endpoint, a PEM file");
const CERTIFICATE_KEY: RowKey = key("client_key", Path, "", "private key of the certificate, a PEM file");
const ENDPOINT: RowKey = key("endpoint", Url, "", "where entries are posted").required();
const TOKEN: RowKey = key("auth_token", Text, "", "bearer token to show to the endpoint").secret();
const QUEUE_SIZE: RowKey = key("queue_size", Number, "100000", "entries that may wait");
const QUEUE_DIR: RowKey = key("queue_dir", Path, "", "directory where entries wait");

/// Before the notification targets.
pub(super) static BEFORE_TARGETS: &[Row] = &[
    row(
        "subnet",
        "registration with a support service",
        &[
            key("license", Text, "", "licence token").secret(),
            key("api_key", Text, "", "key of the service").secret(),
            key("proxy", Text, "", "proxy on the way to the service"),
        ],
    ),
    row(
        "callhome",
        "regular reports to a support service",
        &[
            key("enable", Switch, "off", "whether reports are sent"),
            key("frequency", Duration, "24h", "time between two reports"),
        ],
    ),
    row(
        "drive",
        "patience with slow drives",
        &[key("max_timeout", Duration, "30s", "longest time one drive operation may take")],
    ),
    row(
        "site",
        "name and region of this server",
        &[
            key("name", Text, "", "name of the site"),
            key("region", Text, "", "region, part of every target's ARN: event rules name it")
                .env_older(&["REGION", "REGION_NAME"]),
            COMMENT,
        ],
    )
    .after_restart()
    .acted_upon(),
    row(
        "api",
        "limits and habits of the S3 interface",
        &[
            key("requests_max", Number, "0", "requests served at once, 0 for a number that fits the memory"),
            key("cluster_deadline", Duration, "10s", "longest time of a cluster health check"),
            key("cors_allow_origin", Csv, "*", "origins that browsers may call from"),
            key("remote_transport_deadline", Duration, "2h", "longest time of a call to another server"),
            key(
                "list_quorum",
                Text,
                "strict",
                "drives asked by a listing: strict, optimal, reduced, disk or auto",
            ),
            key(
                "replication_priority",
                Text,
                "auto",
                "share of the machine for replication: auto, slow or fast",
            ),
            key("replication_max_workers", Number, "500", "replication tasks at once"),
            key("transition_workers", Number, "100", "tiering tasks at once"),
            key(
                "stale_uploads_expiry",
                Duration,
                "24h",
                "age at which an abandoned multipart upload is removed",
            ),
            key(
                "stale_uploads_cleanup_interval",
                Duration,
                "6h",
                "time between two looks for abandoned uploads",
            ),
            key("delete_cleanup_interval", Duration, "5m", "time between two removals of deleted data"),
            key("odirect", Switch, "on", "whether drives are read around the page cache"),
            key("root_access", Switch, "on", "whether the root credential may sign requests"),
            key("sync_events", Switch, "off", "whether a request waits until its records are delivered"),
            key("object_max_versions", Number, "9223372036854775807", "versions that one key may have"),
            key("replication_max_lrg_workers", Number, "10", "replication tasks of large objects at once")
                .hidden(),
            key("gzip_objects", Switch, "off", "whether answers are compressed on the way").hidden(),
        ],
    ),
    row(
        "scanner",
        "the walk that looks for what needs attention",
        &[
            key("speed", Text, "default", "share of the machine: slowest, slow, default, fast or fastest"),
            key("alert_excess_versions", Number, "100", "versions of a key that raise an alert"),
            key("alert_excess_folders", Number, "50000", "folders in a folder that raise an alert"),
        ],
    ),
    row(
        "batch",
        "pauses of batch jobs",
        &[
            key(
                "replication_workers_wait",
                Duration,
                "0ms",
                "pause between two objects of a replication job",
            ),
            key("keyrotation_workers_wait", Duration, "0ms", "pause between two objects of a key rotation"),
            key("expiration_workers_wait", Duration, "0ms", "pause between two objects of an expiry job"),
        ],
    ),
    row(
        "compression",
        "compression of stored objects",
        &[
            key("enable", Switch, "off", "whether objects are compressed"),
            key("extensions", Csv, ".txt,.log,.csv,.json,.tar,.xml,.bin", "ends of keys that are compressed"),
            key(
                "mime_types",
                Csv,
                "text/*,application/json,application/xml,binary/octet-stream",
                "content types that are compressed",
            )
            .env_older(&["COMPRESSION_MIMETYPES", "COMPRESS_MIMETYPES"]),
            key(
                "allow_encryption",
                Switch,
                "off",
                "whether objects that are encrypted may be compressed first",
            ),
            COMMENT,
        ],
    )
    .env_older(&["COMPRESS"]),
    row(
        "identity_openid",
        "identities of OpenID Connect providers",
        &[
            SWITCH,
            key("display_name", Text, "", "name of the provider on the login page"),
            key("config_url", Url, "", "discovery document of the provider").required(),
            key("client_id", Text, "", "identifier of this server at the provider").required(),
            key("client_secret", Text, "", "secret of this server at the provider").required().secret(),
            key("role_policy", Text, "", "policies of everyone who comes from this provider"),
            key("claim_name", Text, "policy", "claim that names the policies"),
            key("scopes", Csv, "", "scopes to ask for"),
            key("vendor", Text, "", "vendor, where the provider needs special treatment"),
            key("claim_userinfo", Switch, "off", "whether claims are read from the user info endpoint"),
            key("keycloak_realm", Text, "", "realm, for Keycloak"),
            key("keycloak_admin_url", Text, "", "admin address, for Keycloak"),
            key(
                "redirect_uri_dynamic",
                Switch,
                "off",
                "whether the redirect follows the address that was called",
            ),
            key("claim_prefix", Text, "", "prefix of the claim that names the policies"),
            key("redirect_uri", Text, "", "where the provider sends people back to"),
            COMMENT,
            key("user_readable_claim", Text, "", "claim with a name for people").hidden(),
            key("user_id_claim", Text, "", "claim with the identifier of a person").hidden(),
        ],
    )
    .with_targets()
    .after_restart(),
    row(
        "identity_ldap",
        "identities of an LDAP directory",
        &[
            key("server_addr", Text, "", "host and port of the directory").required(),
            key("srv_record_name", Text, "", "DNS service record to find the directory by"),
            key("lookup_bind_dn", Text, "", "distinguished name that looks people up"),
            key("lookup_bind_password", Text, "", "password of that name").secret(),
            key("user_dn_search_base_dn", Text, "", "where people are, several separated by ;"),
            key("user_dn_search_filter", Text, "", "filter that finds a person"),
            key("user_dn_attributes", Text, "", "attributes of people to keep"),
            key("group_search_filter", Text, "", "filter that finds the groups of a person"),
            key("group_search_base_dn", Text, "", "where groups are, several separated by ;"),
            key("tls_skip_verify", Switch, "off", "whether any certificate is believed"),
            key("server_insecure", Switch, "off", "whether the connection is plain"),
            key("server_starttls", Switch, "off", "whether a plain connection turns to TLS"),
            COMMENT,
            key("enable", Switch, "off", "whether the directory is used").hidden(),
        ],
    )
    .after_restart(),
    row(
        "identity_tls",
        "identities of client certificates",
        &[key("skip_verify", Switch, "off", "whether any certificate is believed")],
    )
    .after_restart(),
    row(
        "identity_plugin",
        "identities by a web service",
        &[
            key("url", Url, "", "the service").required(),
            key("auth_token", Text, "", "token to show to the service").secret(),
            key("role_policy", Text, "", "policies of everyone whom the service knows").required(),
            key("role_id", Text, "", "identifier of the role"),
            COMMENT,
        ],
    )
    .after_restart(),
    row(
        "policy_plugin",
        "decisions by a web service",
        &[
            key("url", Url, "", "the service").required(),
            key("auth_token", Text, "", "token to show to the service").secret(),
            key("enable_http2", Switch, "off", "whether HTTP/2 is spoken"),
            COMMENT,
        ],
    )
    .after_restart(),
    row(
        "logger_webhook",
        "log lines to a web service",
        &[
            SWITCH,
            ENDPOINT,
            TOKEN,
            CERTIFICATE,
            CERTIFICATE_KEY,
            key("batch_size", Number, "1", "lines in one call"),
            QUEUE_SIZE,
            QUEUE_DIR,
            key("proxy", Text, "", "proxy on the way to the service"),
            key("max_retry", Number, "0", "tries before a line is given up, 0 for no bound"),
            key("retry_interval", Duration, "3s", "pause between two tries"),
            key("http_timeout", Duration, "5s", "longest time of one call"),
            COMMENT,
        ],
    )
    .with_targets(),
    row(
        "audit_webhook",
        "a line for each request to a web service",
        &[
            SWITCH,
            ENDPOINT,
            TOKEN,
            CERTIFICATE,
            CERTIFICATE_KEY,
            key("batch_size", Number, "1", "lines in one call"),
            QUEUE_SIZE,
            QUEUE_DIR,
            key("max_retry", Number, "0", "tries before a line is given up, 0 for no bound"),
            key("retry_interval", Duration, "3s", "pause between two tries"),
            key("http_timeout", Duration, "5s", "longest time of one call"),
            COMMENT,
        ],
    )
    .with_targets(),
    row(
        "audit_kafka",
        "a line for each request to a Kafka topic",
        &[
            SWITCH,
            key("brokers", Csv, "", "brokers to begin with, host:port").required(),
            key("topic", Text, "", "topic that takes the lines"),
            key("sasl_username", Text, "", "user name at the brokers"),
            key("sasl_password", Text, "", "password at the brokers").secret(),
            key("sasl_mechanism", Text, "plain", "how the password is shown: plain, sha256 or sha512"),
            key("tls_client_auth", Number, "0", "accepted, without effect on a client"),
            key("sasl", Switch, "off", "whether user name and password are shown"),
            key("tls", Switch, "off", "whether the connection is encrypted"),
            key("tls_skip_verify", Switch, "off", "whether any certificate is believed"),
            key("client_tls_cert", Path, "", "certificate to show to the brokers, a PEM file"),
            key("client_tls_key", Path, "", "private key of the certificate, a PEM file"),
            key("version", Text, "", "version of the brokers"),
            QUEUE_SIZE,
            QUEUE_DIR,
            COMMENT,
        ],
    )
    .with_targets(),
];

/// After the notification targets.
pub(super) static AFTER_TARGETS: &[Row] = &[
    row(
        "lambda_webhook",
        "functions that transform objects on their way out",
        &[
            SWITCH,
            key("endpoint", Url, "", "the function").required(),
            TOKEN,
            COMMENT,
            CERTIFICATE,
            CERTIFICATE_KEY,
        ],
    )
    .with_targets()
    .after_restart(),
    row(
        "etcd",
        "a directory shared by several servers",
        &[
            key("endpoints", Csv, "", "members of the etcd cluster").required(),
            key("path_prefix", Text, "", "prefix of every name"),
            key("coredns_path", Path, "/skydns", "prefix of DNS names"),
            CERTIFICATE,
            key("client_cert_key", Path, "", "private key of the certificate, a PEM file"),
            COMMENT,
        ],
    )
    .after_restart(),
    row(
        "browser",
        "headers of the web console",
        &[
            key("csp_policy", Text, "", "content security policy").env("CONTENT_SECURITY_POLICY"),
            key("hsts_seconds", Number, "0", "how long browsers insist on TLS, in seconds"),
            key("hsts_include_subdomains", Switch, "off", "whether that holds for subdomains")
                .env("HSTS_INCLUDE_SUB_DOMAINS"),
            key("hsts_preload", Switch, "off", "whether browsers may know it beforehand"),
            key(
                "referrer_policy",
                Text,
                "strict-origin-when-cross-origin",
                "what browsers tell of the page before",
            ),
        ],
    ),
    row(
        "ilm",
        "workers of lifecycle rules",
        &[
            key("transition_workers", Number, "100", "tiering tasks at once"),
            key("expiration_workers", Number, "100", "expiry tasks at once"),
        ],
    ),
    row(
        "storage_class",
        "parity by storage class",
        &[
            key("standard", Text, "", "parity of STANDARD, such as EC:4, read when a set is made"),
            key("rrs", Text, "EC:1", "parity of REDUCED_REDUNDANCY, such as EC:1"),
            key(
                "optimize",
                Text,
                "availability",
                "whether parity grows when drives are away: availability or capacity",
            ),
            COMMENT,
        ],
    ),
    row(
        "heal",
        "repair of damaged objects",
        &[
            key(
                "bitrotscan",
                Text,
                "off",
                "whether every byte is read: on, off or a number of months such as 6m",
            ),
            key("max_sleep", Duration, "250ms", "longest pause between two objects"),
            key("max_io", Number, "100", "requests at once that make repair pause"),
            key("drive_workers", Number, "", "repairs of one drive at once"),
        ],
    ),
];
