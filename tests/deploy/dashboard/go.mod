// Grafana's own types of dashboards and panels, which read JSON strictly. A module of its own: it needs nothing of the
// others.
module mqtt-kafka-bridge/tests/deploy/dashboard

go 1.24.0

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
