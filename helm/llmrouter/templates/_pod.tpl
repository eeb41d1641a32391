{{/* The pod of every component: one shape, whatever the service.
     (dict "root" $ "component" "inference-main" "service" "inference" "values" …) */}}
{{- define "llmrouter.pod" -}}
{{- $full := printf "%s-%s" (include "llmrouter.fullname" .root) .component -}}
{{- $values := .values -}}
{{- $secrets := fromJson (include "llmrouter.secretFiles" .) -}}
metadata:
  annotations:
    checksum/config: {{ include "llmrouter.config" . | sha256sum }}
  labels:
    {{- include "llmrouter.labels" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "llmrouter.serviceAccount" .root }}
  automountServiceAccountToken: false
  # Variables of other Services would be taken for settings.
  enableServiceLinks: false
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  # Longer than the drain, so that it is the service that ends its streams.
  terminationGracePeriodSeconds: {{ add $values.drainSeconds $values.preStopSeconds 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- if and (eq .service "inference") $values.store.pull }}
  initContainers:
    {{- range $index, $pulled := $values.store.pull }}
    - name: pull-{{ $index }}
      image: {{ include "llmrouter.image" $ }}
      imagePullPolicy: {{ $.root.Values.image.pullPolicy }}
      args:
        - models
        - pull
        - {{ $pulled.name | quote }}
        {{- range $pulled.precisions }}
        - --precision={{ . }}
        {{- end }}
        - --store=/var/lib/llmrouter/models
        - --json
      {{- with $values.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "llmrouter.securityContext" . | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/llmrouter/models}
        - {name: temporary, mountPath: /tmp}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .service }}
      image: {{ include "llmrouter.image" . }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: [{{ .service }}]
      env:
        - name: LLMROUTER_CONFIG
          value: /etc/llmrouter/llmrouter.yaml
        - name: LLMROUTER_ENV
          value: {{ .root.Values.environment }}
        {{- with $values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: grpc, containerPort: {{ include "llmrouter.port" .service }}}
        - {name: health, containerPort: 50060}
        {{- if $values.http }}
        - {name: http, containerPort: 8080}
        {{- end }}
        {{- if .root.Values.telemetry.metrics }}
        - {name: metrics, containerPort: 9464}
        {{- end }}
      # Live is a process that answers at all; ready is one that wants requests.
      startupProbe:
        grpc: {port: 50060, service: liveness}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: {{ div (default 120 $values.startSeconds) 2 }}
      livenessProbe:
        grpc: {port: 50060, service: liveness}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        grpc: {port: 50060}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      {{- if $values.preStopSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $values.preStopSeconds }}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "llmrouter.securityContext" . | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/llmrouter, readOnly: true}
        - {name: temporary, mountPath: /tmp}
        {{- if ne .root.Values.tls.mode "none" }}
        - {name: tls, mountPath: /etc/llmrouter-tls, readOnly: true}
        {{- end }}
        {{- range $name, $mounted := $secrets }}
        - {name: {{ $name }}, mountPath: /etc/llmrouter-{{ $name }}, readOnly: true}
        {{- end }}
        - {name: data, mountPath: /var/lib/llmrouter{{ if eq .service "inference" }}/models{{ end }}}
  volumes:
    - name: config
      configMap:
        name: {{ $full }}
    - name: temporary
      emptyDir: {sizeLimit: 1Gi}
    {{- if ne .root.Values.tls.mode "none" }}
    - name: tls
      secret: {secretName: {{ $full }}-tls, defaultMode: 0440}
    {{- end }}
    {{- range $name, $mounted := $secrets }}
    - name: {{ $name }}
      projected:
        defaultMode: 0440
        sources:
          {{- range $file, $from := $mounted }}
          - secret: {name: {{ $from.name }}, items: [{key: {{ $from.key }}, path: {{ $file }}}]}
          {{- end }}
    {{- end }}
    {{- if eq .service "inference" }}
    {{- with $values.store.claim }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
    {{- else if not $values.persistence.enabled }}
    - name: data
      emptyDir: {sizeLimit: 1Gi}
    {{- end }}
  topologySpreadConstraints:
    {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - topologyKey: {{ $key }}
      maxSkew: 1
      whenUnsatisfiable: {{ $.root.Values.spread }}
      labelSelector:
        matchLabels:
          {{- include "llmrouter.selectorLabels" $ | nindent 10 }}
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Files of Secrets that a component reads: mount by name, file by file, as JSON. */}}
{{- define "llmrouter.secretFiles" -}}
{{- $mounts := dict -}}
{{- $redis := dict -}}
{{- if include "llmrouter.sharesRedis" . -}}
{{- with .root.Values.redis -}}
{{- if .passwordSecret.name -}}{{- $_ := set $redis "password" .passwordSecret -}}{{- end -}}
{{- if and .tls .caSecret.name -}}{{- $_ := set $redis "ca.crt" .caSecret -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if $redis -}}{{- $_ := set $mounts "redis" $redis -}}{{- end -}}
{{- if and (eq .service "gateway") .values.keysSecret -}}
{{- $keys := dict -}}
{{- range $file := list "keys.sqlite" "keys.sqlite.secret" -}}{{- $_ := set $keys $file (dict "name" $.values.keysSecret "key" $file) -}}{{- end -}}
{{- $_ := set $mounts "keys" $keys -}}
{{- end -}}
{{- with .root.Values.telemetry.otlpHeadersSecret -}}
{{- if .name -}}{{- $_ := set $mounts "otlp" (dict "headers" .) -}}{{- end -}}
{{- end -}}
{{- toJson $mounts -}}
{{- end -}}

{{- define "llmrouter.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
