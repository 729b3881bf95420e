{{- define "bridge.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end }}
{{- end }}

{{- define "bridge.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "bridge.labels" -}}
{{ include "bridge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "bridge.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* As probes name it. */}}
{{- define "bridge.scheme" -}}
{{- $http := regexFind `(?ms)^[ \t]*\[http\].*?(?:^[ \t]*\[|\z)` .Values.config }}
{{- $own := ternary "https" "http" (regexMatch `(?m)^[ \t]*cert_file[ \t]*=` $http) }}
{{- upper (.Values.http.scheme | default $own) }}
{{- end }}

{{/* Empty: the namespace's default. */}}
{{- define "bridge.serviceAccount" -}}
{{- $own := ternary (include "bridge.name" .) "" .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default $own }}
{{- end }}

{{/* Who a pod is, where it runs, and what it may do: as little as possible. */}}
{{- define "bridge.pod" -}}
{{- with include "bridge.serviceAccount" . -}}
serviceAccountName: {{ . }}
{{ end -}}
# The bridge does not speak to Kubernetes.
automountServiceAccountToken: false
enableServiceLinks: false
# Longer than delivery.drain_deadline.
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "bridge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "bridge.volumeMounts" -}}
- { name: config, mountPath: /etc/mqtt-kafka-bridge, readOnly: true }
- { name: secrets, mountPath: /run/secrets/mqtt-kafka-bridge, readOnly: true }
- { name: data, mountPath: /var/lib/mqtt-kafka-bridge }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Whole directories: a file mounted by subPath would never change. */}}
{{- define "bridge.volumes" -}}
- name: config
  configMap: { name: {{ include "bridge.name" . }} }
- name: secrets
  secret: { secretName: {{ .Values.secretName }}, defaultMode: 0440 }
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
