{{- define "dragoman.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- /* Called with (dict "root" $ "role" "front"). */ -}}
{{- define "dragoman.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "dragoman.labels" -}}
{{ include "dragoman.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "dragoman.secret" -}}
{{- .Values.secret.existing | default (printf "%s-secret" (include "dragoman.name" .)) -}}
{{- end }}

{{- /* The pod of a role: called with (dict "root" $ "role" "front" "values" .Values.front "port" 8080). */ -}}
{{- define "dragoman.pod" -}}
metadata:
  labels: {{- include "dragoman.labels" . | nindent 4 }}
  annotations:
    checksum/secret: {{ .root.Values.secret | toJson | sha256sum }}
    {{- with .values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .root.Values.drainSeconds (.values.preStopSeconds | default 0) 10 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: [{{ if eq .role "front" }}serve{{ else }}worker{{ end }}]
      envFrom:
        - secretRef: {name: {{ include "dragoman.secret" .root }}}
      env:
        {{- if .root.Values.redisUrl }}
        - {name: GATEWAY_REDIS_URL, value: {{ .root.Values.redisUrl | quote }}}
        {{- end }}
        - {name: GATEWAY_DRAIN_SECONDS, value: {{ .root.Values.drainSeconds | quote }}}
        {{- if .root.Values.config }}
        - {name: GATEWAY_CONFIG, value: /etc/dragoman/gateway.toml}
        {{- end }}
        {{- if .values.slots }}
        - {name: GATEWAY_WORKER_SLOTS, value: {{ .values.slots | quote }}}
        {{- end }}
        {{- range $name, $value := .root.Values.settings }}
        - {name: GATEWAY_{{ $name | upper }}, value: {{ $value | toString | quote }}}
        {{- end }}
      ports:
        {{- if eq .role "front" }}
        - {name: http, containerPort: 8080}
        {{- end }}
        - {name: admin, containerPort: {{ .admin }}}
      startupProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      {{- with .values.preStopSeconds }}
      lifecycle:
        preStop:
          exec: {command: [sleep, {{ . | quote }}]}
      {{- end }}
      resources: {{- toYaml .values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if .root.Values.config }}
        # The directory, not the file alone: a changed file then reaches running pods, which read it again.
        - {name: config, mountPath: /etc/dragoman, readOnly: true}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {medium: Memory, sizeLimit: 64Mi}
    {{- if .root.Values.config }}
    - name: config
      configMap: {name: {{ include "dragoman.name" .root }}-config}
    {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "dragoman.selector" . | nindent 10 }}
  {{- with .values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
