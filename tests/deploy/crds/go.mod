// The CRD of ServiceMonitor, from the module of the operator that serves it. A module of its own, since the operator
// and the tools want other versions of Kubernetes' libraries.
module mqtt-kafka-bridge/tests/deploy/crds

go 1.24.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
