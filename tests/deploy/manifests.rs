//! The chart, by Helm; what it renders, by Kubernetes' own schemas; the configuration in it, by the bridge.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{BRIDGE, ask, read, root, run, said, tool};

const CHART: &str = "docs/deploy/helm";
const PLAIN: &str = "docs/deploy/kubernetes";
/// Written by hand; in the directory that is applied as a whole it would replace the real one.
const EXAMPLE_OF_SECRET: &str = "on-demand/secret.yaml";
/// Where pods find the keys of their Secret.
const SECRETS: &str = "/run/secrets/mqtt-kafka-bridge";

/// The newest Kubernetes whose schemas the tool has.
const KUBERNETES: &str = "1.30";

/// What a user may set beyond the defaults; none of it may make a manifest wrong.
const EVERYTHING: &str = r#"
replicas: 5
http: { scheme: https, tlsConfig: { serverName: bridge, ca: { secret: { name: ca, key: ca.crt } } } }
serviceAccount: { create: true, name: iot, annotations: { example.com/role: "arn:1" } }
extraVolumes: [{ name: certificates, secret: { secretName: kafka-client, defaultMode: 0440 } }]
extraVolumeMounts: [{ name: certificates, mountPath: /etc/certificates, readOnly: true }]
image: { repository: registry.example.com/iot/bridge, tag: "1.2.3", pullPolicy: Always }
imagePullSecrets: [registry, other]
env:
  - { name: BRIDGE_LOG__TIMING, value: "off" }
  - { name: BRIDGE_MQTT__PASSWORD, valueFrom: { secretKeyRef: { name: mqtt, key: password } } }
storage: { size: 5Gi, className: fast }
terminationGracePeriodSeconds: 60
resources: { requests: { cpu: "2" }, limits: { memory: 1Gi, cpu: "4" } }
podDisruptionBudget: { maxUnavailable: 50% }
topologySpread: { whenUnsatisfiable: DoNotSchedule }
nodeSelector: { kubernetes.io/arch: arm64 }
tolerations: [{ key: edge, operator: Exists, effect: NoSchedule }]
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms: [{ matchExpressions: [{ key: zone, operator: In, values: [a, b] }] }]
podLabels: { team: iot }
podAnnotations: { example.com/owner: iot }
networkPolicy: { enabled: true, ports: [443], dnsPorts: [53, 5353], metricsFrom: [{ podSelector: {} }] }
serviceMonitor: { enabled: true, interval: 1m, labels: { release: prometheus } }
leave: { ordinal: 0 }
"#;

fn helm(args: &[&str]) -> Command {
    let mut command = Command::new(tool("helm"));
    command.args(args);
    command
}

fn template(args: &[&str]) -> Command {
    let mut command = helm(&["template", "bridge", CHART, "--kube-version", KUBERNETES]);
    command.args(args);
    command
}

fn validate(files: &[PathBuf]) -> Command {
    let mut command = Command::new(tool("kubectl-validate"));
    command.args(["--version", KUBERNETES, "--local-crds"]).arg(tool("crds")).args(files);
    command
}

/// The files of a directory and the directories in it.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn written(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_chart_passes_helms_own_rules() {
    let dir = TempDir::new().unwrap();
    let everything = written(&dir, "values.yaml", EVERYTHING);
    run(&mut helm(&["lint", "--strict", "--kube-version", KUBERNETES, CHART]));
    let lint = ["lint", "--strict", "--kube-version", KUBERNETES, "--values"];
    run(helm(&lint).arg(everything).arg(CHART));
}

#[test]
fn the_chart_refuses_values_that_it_does_not_know() {
    for (set, complaint) in [
        ("replica=3", "replica"),
        ("replicas=-1", "replicas"),
        ("replicas=two", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("config=", "config"),
        ("networkPolicy.ports[0]=mqtts", "networkPolicy.ports"),
        ("networkPolicy.dnsPorts[0]=0", "networkPolicy.dnsPorts"),
        ("http.scheme=ftp", "http.scheme"),
        ("serviceAccountName=iot", "serviceAccountName"),
        ("serviceAccount.create=often", "serviceAccount.create"),
        ("extraVolumes[0].emptyDir=any", "extraVolumes"),
        ("extraVolumeMounts[0].name=certificates", "extraVolumeMounts"),
        ("topologySpread.whenUnsatisfiable=Maybe", "whenUnsatisfiable"),
        ("terminationGracePeriodSeconds=0", "terminationGracePeriodSeconds"),
        ("leave.ordinal=-1", "leave.ordinal"),
    ] {
        let output = ask(&mut template(&["--set", set]));
        assert!(!output.status.success(), "{set} was taken");
        assert!(said(&output).contains(complaint), "{set}: {}", said(&output));
    }
}

#[test]
fn the_plain_manifests_are_what_the_chart_renders() {
    let dir = TempDir::new().unwrap();
    let target = tool("helm").ancestors().nth(2).expect("target/tools/helm").to_owned();
    let mut render = Command::new("tests/deploy/render");
    run(render.arg(dir.path()).env("CARGO_TARGET_DIR", target));
    let names = |directory: &Path| -> BTreeSet<PathBuf> {
        let files = files_below(directory).into_iter();
        files.map(|file| file.strip_prefix(directory).unwrap().to_owned()).collect()
    };
    let plain = root().join(PLAIN);
    let mut expected = names(dir.path());
    for name in &expected {
        let (rendered, kept) = (dir.path().join(name), plain.join(name));
        let [rendered, kept] = [rendered, kept].map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(rendered, kept, "{}: run tests/deploy/render", name.display());
    }
    // The chart makes no Secret.
    expected.insert(EXAMPLE_OF_SECRET.into());
    assert_eq!(names(&plain), expected);
}

/// Of what `kubectl apply -f docs/deploy/kubernetes` takes: the files there, and none below.
#[test]
fn to_apply_the_plain_manifests_replaces_no_secret_and_starts_no_job() {
    let entries = fs::read_dir(root().join(PLAIN)).unwrap().map(|entry| entry.unwrap().path());
    let applied: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    assert!(applied.len() >= 6, "{applied:?}");
    for path in applied {
        let text = fs::read_to_string(&path).unwrap();
        let kinds = text.lines().filter_map(|line| line.strip_prefix("kind: "));
        for kind in kinds {
            assert!(!["Secret", "Job"].contains(&kind), "a {kind} in {}", path.display());
        }
    }
}

#[test]
fn probes_and_prometheus_ask_by_tls_where_the_bridge_serves_it() {
    let with_http = |keys: &str| {
        let config = configuration().replace("[http]\n", &format!("[http]\n{keys}"));
        format!(
            "config: |\n{}",
            config.lines().map(|line| format!("  {line}\n")).collect::<String>()
        )
    };
    let certificate = "cert_file = \"/c\"\nhost_names = [\"a\"]\nkey_file = \"/k\"\n";
    let in_array = "host_names = [\n\"a\",\n]\n  cert_file=\"/c\"\n  key_file=\"/k\"\n";
    for (values, scheme) in [
        (String::new(), "HTTP"),
        (with_http(certificate), "HTTPS"),
        (with_http(in_array), "HTTPS"),
        // Certificates of another section.
        (with_http("# cert_file = \"/c\"\n[[mqtt]]\n[mqtt.tls]\ncert_file = \"/c\"\n"), "HTTP"),
        (format!("{}http: {{ scheme: http }}\n", with_http(certificate)), "HTTP"),
        ("http: { scheme: https }\n".to_owned(), "HTTPS"),
    ] {
        let dir = TempDir::new().unwrap();
        let file = written(&dir, "values.yaml", &values);
        let monitor = ["--set", "serviceMonitor.enabled=true", "--values"];
        let rendered = run(template(&monitor).arg(file));
        for path in ["livez", "readyz"] {
            let probe = format!("httpGet: {{ path: /{path}, port: http, scheme: {scheme} }}");
            assert!(rendered.contains(&probe), "no {probe} of {values}\n{rendered}");
        }
        let of_monitor = format!("      scheme: {}\n", scheme.to_lowercase());
        assert!(rendered.contains(&of_monitor), "no {of_monitor} of {values}\n{rendered}");
    }
}

/// The Job stands in for a pod, and so needs whatever that had.
#[test]
fn pods_and_the_job_have_the_account_the_volumes_and_the_network_that_are_set() {
    let dir = TempDir::new().unwrap();
    let everything = written(&dir, "values.yaml", EVERYTHING);
    for manifest in ["statefulset", "leave"] {
        let show = format!("templates/{manifest}.yaml");
        let rendered = run(template(&["--show-only", &show, "--values"]).arg(&everything));
        for set in [
            "serviceAccountName: iot",
            "- name: registry",
            "kubernetes.io/arch: arm64",
            "mountPath: /etc/certificates",
            "secretName: kafka-client",
            "name: BRIDGE_MQTT__PASSWORD",
        ] {
            assert!(rendered.contains(set), "no {set} in {rendered}");
        }
    }
    let plain = run(&mut template(&[]));
    assert!(!plain.contains("serviceAccountName"), "{plain}");
    let create = ["--set", "serviceAccount.create=true"];
    let own = run(&mut template(&create));
    assert!(own.contains("serviceAccountName: bridge-mqtt-kafka-bridge\n"), "{own}");

    let policy = read(&format!("{PLAIN}/networkpolicy.yaml"));
    let (_, names) = policy.split_once("operator: In, values: [").expect("names of pods");
    let names: Vec<&str> = names.split(']').next().unwrap().split(", ").collect();
    for file in ["statefulset.yaml", "on-demand/leave.yaml"] {
        let manifest = read(&format!("{PLAIN}/{file}"));
        let (_, pod) = manifest.split_once("  template:\n").expect("a template");
        let (_, name) = pod.split_once("app.kubernetes.io/name: ").expect("a name");
        let name = name.lines().next().unwrap();
        assert!(names.contains(&name), "{file}: {name} is not in {names:?}");
    }
}

#[test]
fn all_manifests_fit_the_schemas_of_kubernetes() {
    run(&mut validate(&files_below(&root().join(PLAIN))));
    let dir = TempDir::new().unwrap();
    let everything = written(&dir, "values.yaml", EVERYTHING);
    let rendered = run(template(&["--values"]).arg(everything));
    assert_eq!(rendered.matches("\nkind: ").count(), 8, "{rendered}");
    let bare = run(&mut template(&[]));
    assert_eq!(bare.matches("\nkind: ").count(), 4, "{bare}");
    run(&mut validate(&[written(&dir, "a.yaml", &rendered), written(&dir, "b.yaml", &bare)]));
}

#[test]
fn one_wrong_word_in_a_manifest_is_refused() {
    for (file, right, wrong, complaint) in [
        ("statefulset.yaml", "serviceName:", "servicename:", "servicename"),
        ("statefulset.yaml", "replicas: 3", "replicas: three", "replicas"),
        (
            "statefulset.yaml",
            "readOnlyRootFilesystem: true",
            "readOnlyRootFileSystem: true",
            "readOnlyRootFileSystem",
        ),
        ("statefulset.yaml", "type: RuntimeDefault", "kind: RuntimeDefault", "seccompProfile"),
        (
            "statefulset.yaml",
            "capabilities: { drop: [ALL] }",
            "capabilities: { drop: ALL }",
            "drop",
        ),
        ("statefulset.yaml", "path: /livez", "url: /livez", "url"),
        ("statefulset.yaml", "scheme: HTTP", "protocol: HTTP", "protocol"),
        ("statefulset.yaml", "whenScaled: Retain", "whenShrunk: Retain", "whenShrunk"),
        ("configmap.yaml", "data:", "content:", "content"),
        (
            "service.yaml",
            "publishNotReadyAddresses: true",
            "publishNotReadyAddresses: always",
            "publishNotReadyAddresses",
        ),
        ("poddisruptionbudget.yaml", "maxUnavailable:", "maxUnavailble:", "maxUnavailble"),
        ("networkpolicy.yaml", "podSelector:", "selector:", "selector"),
        ("networkpolicy.yaml", "protocol: UDP", "proto: UDP", "proto"),
        ("networkpolicy.yaml", "operator: In", "operand: In", "operand"),
        ("servicemonitor.yaml", "interval: 15s", "interval: 15 seconds", "interval"),
        ("servicemonitor.yaml", "scheme: http", "scheme: ftp", "scheme"),
        ("servicemonitor.yaml", "port: http", "port: 8080", "port"),
        (EXAMPLE_OF_SECRET, "stringData:", "strings:", "strings"),
        ("on-demand/leave.yaml", "backoffLimit: 10", "backoffLimit: many", "backoffLimit"),
        ("on-demand/leave.yaml", "restartPolicy:", "restart:", "restart"),
        ("on-demand/leave.yaml", "kind: Job", "kind: Jobs", "Jobs"),
    ] {
        let text = read(&format!("{PLAIN}/{file}"));
        assert!(text.contains(right), "{file} has no {right:?}");
        let dir = TempDir::new().unwrap();
        let broken = written(&dir, "broken.yaml", &text.replacen(right, wrong, 1));
        let output = ask(&mut validate(&[broken]));
        assert!(!output.status.success(), "{file} with {wrong:?} was taken");
        assert!(said(&output).contains(complaint), "{file} with {wrong:?}: {}", said(&output));
    }
}

/// The config.toml of the ConfigMap, with its indentation removed.
fn configuration() -> String {
    let manifest = read(&format!("{PLAIN}/configmap.yaml"));
    let (_, block) = manifest.split_once("  config.toml: |\n").expect("the key config.toml");
    let lines = block.lines().map(|line| line.strip_prefix("    ").unwrap_or_default());
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// The keys of the Secret.
fn secret_keys() -> Vec<String> {
    let manifest = read(&format!("{PLAIN}/{EXAMPLE_OF_SECRET}"));
    let (_, data) = manifest.split_once("stringData:\n").expect("stringData");
    let keys = data.lines().filter_map(|line| line.trim().split_once(": "));
    keys.filter(|(key, _)| !key.starts_with('#')).map(|(key, _)| key.to_owned()).collect()
}

#[test]
fn the_bridge_takes_the_configuration_and_has_time_to_drain() {
    let dir = TempDir::new().unwrap();
    for key in secret_keys() {
        written(&dir, &key, "change-me-change-me");
    }
    let here = dir.path().to_str().unwrap();
    let text = configuration();
    assert!(text.contains(SECRETS), "{text}");
    let config = written(&dir, "config.toml", &text.replace(SECRETS, here));
    // As the pod whose ordinal is 2.
    let as_pod = "hostname mqtt-kafka-bridge-2 && exec \"$0\" check --config \"$1\"";
    let mut check = Command::new("unshare");
    check.args(["--map-root-user", "--uts", "sh", "-c", as_pod, BRIDGE]).arg(config);
    let output = check.current_dir(here).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let resolved = said(&output);
    assert!(resolved.contains("client_id = \"bridge-2\""), "{resolved}");
    assert!(resolved.contains("group = \"bridge\""), "{resolved}");
    assert!(!resolved.contains("change-me"), "a secret: {resolved}");

    let seconds_of = |text: &str, key: &str| -> u64 {
        let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("no {key} in {text}"));
        let digits = rest.trim_start_matches([' ', '=', '"', ':']);
        digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let drain = seconds_of(&resolved, "drain_deadline");
    for file in ["statefulset.yaml", "on-demand/leave.yaml"] {
        let manifest = read(&format!("{PLAIN}/{file}"));
        let grace = seconds_of(&manifest, "terminationGracePeriodSeconds");
        assert!(grace > drain, "{file}: {grace} s for a drain of {drain} s");
    }
}

#[test]
fn ports_and_files_of_the_configuration_are_those_of_the_manifests() {
    let text = configuration();
    let used: BTreeSet<&str> = text
        .split(SECRETS)
        .skip(1)
        .map(|rest| rest.trim_start_matches('/').split('"').next().unwrap())
        .collect();
    let keys = secret_keys();
    assert_eq!(used, keys.iter().map(String::as_str).collect());
    let policy = read(&format!("{PLAIN}/networkpolicy.yaml"));
    for port in ["8883", "9093"] {
        assert!(text.contains(&format!(":{port}\"")), "{text}");
        assert!(policy.contains(&format!("port: {port},")), "{policy}");
    }
    let stateful_set = read(&format!("{PLAIN}/statefulset.yaml"));
    assert!(text.contains("listen = \"0.0.0.0:8080\""), "{text}");
    assert!(stateful_set.contains("containerPort: 8080"), "{stateful_set}");
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains("USER 10001:10001") && stateful_set.contains("runAsUser: 10001"));
}
