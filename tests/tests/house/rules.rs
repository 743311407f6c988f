//! Who may use what.

/// A rule: in the files below `within`, but not below one of `except`, none of `words` may occur.
pub struct Rule {
    pub name: &'static str,
    pub within: &'static [&'static str],
    pub except: &'static [&'static str],
    pub words: &'static [&'static str],
}

pub const EVERYWHERE: &[&str] = &["engine", "wire", "loadgen", "testkit", "benches", "tests"];

/// What reads a clock, or reaches out of the process.
const CLOCKS_AND_IO: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "io::stdin",
    "io::stdout",
    "io::stderr",
    "File",
    "TcpStream",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "TimeZone::get",
    "TimeZone::system",
];

pub const RULES: &[Rule] = &[
    Rule {
        name: "only engine/node/src/driver knows glommio",
        within: EVERYWHERE,
        except: &["engine/node/src/driver"],
        words: &["glommio::"],
    },
    Rule {
        name: "only the control thread, what asks validators, TLS and the gateway know tokio",
        within: EVERYWHERE,
        // Validators are asked over sockets, of which many wait at once; the invented provider is the other end, and
        // their tests hold both to each other. The other rules engine is asked through a runtime.
        except: &[
            "engine/node/src/control",
            "engine/node/src/validators",
            "engine/edge/src/http",
            "engine/edge/src/lib.rs",
            "engine/tls/src",
            // An issuer's keys are fetched over HTTP by a task.
            "engine/tokens/src/fetch.rs",
            "engine/tokens/src/issuer.rs",
            "engine/tokens/src/testing.rs",
            "engine/tokens/src/tests",
            "engine/edge/src/auth/tests",
            "engine/edge/src/link/connection.rs",
            "engine/edge/src/link/driver.rs",
            "engine/edge/src/link/many.rs",
            "engine/edge/src/intake/mod.rs",
            "engine/edge/src/intake/amqp",
            "engine/edge/src/intake/kafka",
            "engine/edge/src/intake/payments.rs",
            "engine/edge/src/intake/quiet.rs",
            "engine/cli/src/commands/provider",
            "engine/cli/src/commands/demo/doors",
            // It asks a node over HTTP.
            "engine/cli/src/commands/validators.rs",
            "engine/cli/tests/validators",
            // TLS, queues and topics from the other side.
            "tests/src/tls.rs",
            "tests/src/rabbit.rs",
            "tests/src/kafka.rs",
            "benches/src/bin/intake.rs",
            "benches/zen",
        ],
        words: &["tokio::", "hyper::", "hyper_util::", "tokio_rustls::"],
    },
    Rule {
        name: "only engine/node/src/control and the gateway know axum",
        within: EVERYWHERE,
        except: &[
            "engine/node/src/control",
            "engine/edge/src/http",
            // The one form that every error of the gateway has.
            "engine/edge/src/problem.rs",
        ],
        words: &["axum::"],
    },
    Rule {
        name: "arrows point down: validators know nobody who asks them",
        within: &["engine/node/src/validators"],
        except: &[],
        words: &["crate::driver", "crate::control", "crate::replication", "crate::lifecycle"],
    },
    Rule {
        name: "the gateway's link decides without I/O and clock",
        within: &["engine/edge/src/link"],
        // The last hands deadlines on.
        except: &[
            "engine/edge/src/link/connection.rs",
            "engine/edge/src/link/driver.rs",
            "engine/edge/src/link/many.rs",
        ],
        words: CLOCKS_AND_IO,
    },
    Rule {
        name: "only the intake's drivers and the demo of doors know clients of brokers",
        within: EVERYWHERE,
        except: &[
            "engine/edge/src/intake/amqp",
            "engine/edge/src/intake/kafka",
            // From the other side.
            "engine/cli/src/commands/demo/doors",
            "tests/src/rabbit.rs",
            "tests/src/kafka.rs",
            // What decides nothing, beside an intake.
            "benches/src/bin/intake.rs",
        ],
        words: &["lapin::", "rdkafka::"],
    },
    Rule {
        name: "the intake decides without I/O and clock",
        within: &["engine/edge/src/intake"],
        // The first hands out where metrics are, and the last is told the time.
        except: &[
            "engine/edge/src/intake/mod.rs",
            "engine/edge/src/intake/amqp",
            "engine/edge/src/intake/kafka",
            "engine/edge/src/intake/payments.rs",
            "engine/edge/src/intake/quiet.rs",
        ],
        words: CLOCKS_AND_IO,
    },
    Rule {
        name: "the gateway's JSON does no I/O and reads no clock",
        within: &["engine/edge/src/json"],
        except: &[],
        // It reads addresses, which are in `std::net`.
        words: &["std::fs", "std::env", "TcpStream", "Instant", "SystemTime", "Timestamp::now"],
    },
    Rule {
        name: "arrows point down: the gateway's link and JSON know neither each other nor HTTP",
        within: &["engine/edge/src/link"],
        except: &[],
        words: &["crate::http", "crate::intake", "crate::json", "crate::problem"],
    },
    Rule {
        name: "arrows point down: the gateway's link and JSON know neither each other nor HTTP",
        within: &["engine/edge/src/json"],
        except: &[],
        words: &["crate::http", "crate::intake", "crate::link", "crate::problem"],
    },
    Rule {
        name: "arrows point down: who asks is known without the paths and the nodes",
        within: &["engine/edge/src/auth"],
        except: &[],
        words: &["crate::http", "crate::intake", "crate::json", "crate::link", "crate::problem"],
    },
    Rule {
        name: "arrows point down: HTTP knows nothing of queues",
        within: &["engine/edge/src/http", "engine/edge/src/problem.rs"],
        except: &[],
        words: &["crate::intake"],
    },
    Rule {
        name: "the core does no I/O and reads no clock",
        within: &["engine/core/src"],
        except: &[],
        words: CLOCKS_AND_IO,
    },
    Rule {
        name: "the core maps memory for its two large tables, and no file",
        within: &["engine/core/src"],
        except: &[
            "engine/core/src/memory.rs",
            "engine/core/src/blacklist/build.rs",
            "engine/core/src/blacklist/memory.rs",
            "engine/core/src/blacklist/snapshot.rs",
        ],
        words: &["memmap2"],
    },
    Rule {
        name: "the core maps memory for its two large tables, and no file",
        within: &["engine/core/src"],
        except: &[],
        words: &["MmapOptions", "Mmap::map", "map_raw", "map_raw_read_only", "MmapMut::map_mut"],
    },
    Rule {
        name: "the core shares the memory of its tables, and nothing else, with another thread",
        within: &["engine/core/src"],
        except: &["engine/core/src/memory.rs"],
        words: &["MmapRaw"],
    },
    Rule {
        name: "the formats do no I/O; the client alone does",
        within: &["wire/src"],
        except: &["wire/src/client"],
        words: &[
            "std::fs",
            "std::thread",
            "std::process",
            "TcpStream",
            "Instant",
            "SystemTime",
            "quanta",
        ],
    },
    Rule {
        name: "arrows point down: what the shard stands on does not know it",
        within: &[
            "engine/core/src/policy",
            "engine/core/src/replica",
            "engine/core/src/log",
            "engine/core/src/blacklist",
            "engine/core/src/named_lists",
            "engine/core/src/observe",
            "engine/core/src/calendar.rs",
            "engine/core/src/limits.rs",
            "engine/core/src/memory.rs",
        ],
        except: &[],
        words: &["crate::shard", "crate::rebuild"],
    },
    Rule {
        name: "arrows point down: lists and logs know neither who decides nor who replicates",
        within: &[
            "engine/core/src/log",
            "engine/core/src/blacklist",
            "engine/core/src/named_lists",
        ],
        except: &[],
        words: &["crate::policy", "crate::replica"],
    },
    Rule {
        name: "arrows point down: who asks a validator knows neither who decides nor who replicates",
        within: &["engine/core/src/validate"],
        except: &[],
        words: &["crate::policy", "crate::replica", "crate::shard", "crate::rebuild"],
    },
    Rule {
        name: "policy and replication do not know each other",
        within: &["engine/core/src/policy"],
        except: &[],
        words: &["crate::replica"],
    },
    Rule {
        name: "policy and replication do not know each other",
        within: &["engine/core/src/replica"],
        except: &[],
        words: &["crate::policy"],
    },
    Rule {
        name: "arrows point down: replication knows neither what moves the shards nor who asks",
        within: &["engine/node/src/replication"],
        except: &[],
        words: &["crate::driver", "crate::control", "crate::lifecycle"],
    },
    Rule {
        name: "arrows point down: the driver knows neither replication nor the control thread",
        within: &["engine/node/src/driver"],
        except: &[],
        words: &["crate::replication", "crate::control", "crate::lifecycle"],
    },
    Rule {
        name: "arrows point down: the control thread knows neither who starts it nor what moves the shards",
        within: &["engine/node/src/control"],
        except: &[],
        words: &["crate::lifecycle", "crate::driver"],
    },
    Rule {
        name: "arrows point down: files, queues and threads know nobody who uses them",
        within: &[
            "engine/node/src/archive_place.rs",
            "engine/node/src/balancers.rs",
            "engine/node/src/block_file.rs",
            "engine/node/src/channels.rs",
            "engine/node/src/config.rs",
            "engine/node/src/data_dir.rs",
            "engine/node/src/descriptors.rs",
            "engine/node/src/fatal.rs",
            "engine/node/src/from_log.rs",
            "engine/node/src/list_files.rs",
            "engine/node/src/live_feed.rs",
            "engine/node/src/log_files",
            "engine/node/src/logging.rs",
            "engine/node/src/mailbox.rs",
            "engine/node/src/pages.rs",
            "engine/node/src/random.rs",
            "engine/node/src/signals.rs",
            "engine/node/src/socket.rs",
            "engine/node/src/threads.rs",
            "engine/node/src/time_zone.rs",
            "engine/node/src/wall_clock.rs",
            "engine/node/src/whole_file.rs",
        ],
        except: &[],
        words: &["crate::driver", "crate::control", "crate::replication", "crate::lifecycle"],
    },
    Rule {
        name: "nothing is left for later",
        within: EVERYWHERE,
        except: &[],
        words: &["todo!", "unimplemented!", "dbg!"],
    },
];
