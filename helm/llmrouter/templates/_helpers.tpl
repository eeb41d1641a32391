{{- define "llmrouter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What pods of one component are found by: (dict "root" $ "component" "gateway") */}}
{{- define "llmrouter.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "llmrouter.labels" -}}
{{ include "llmrouter.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: llmrouter
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "llmrouter.serviceAccount" -}}
{{- default (ternary (include "llmrouter.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* The image of a component: its own where it names one. */}}
{{- define "llmrouter.image" -}}
{{- $own := default dict .values.image -}}
{{- $repository := default .root.Values.image.repository $own.repository -}}
{{- $digest := $own.digest -}}
{{- if not (or $own.digest $own.tag $own.repository) -}}{{- $digest = .root.Values.image.digest -}}{{- end -}}
{{- if $digest -}}
{{- printf "%s@%s" $repository $digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default (default .root.Chart.AppVersion .root.Values.image.tag) $own.tag) -}}
{{- end -}}
{{- end -}}

{{/* Everything that is deployed: components by name, as JSON. A pool is a component of service inference. */}}
{{- define "llmrouter.components" -}}
{{- $found := dict -}}
{{- range $service := list "gateway" "selector" "cache" -}}
{{- $_ := set $found $service (dict "service" $service "values" (get $.Values $service)) -}}
{{- end -}}
{{- range $pool, $differs := .Values.inference.pools -}}
{{- $values := mergeOverwrite (deepCopy $.Values.inference.defaults) (default dict $differs) -}}
{{- $_ := set $found (printf "inference-%s" $pool) (dict "service" "inference" "values" $values) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "llmrouter.port" -}}
{{- get (dict "gateway" 50051 "selector" 50052 "cache" 50053 "inference" 50054) . -}}
{{- end -}}

{{/* The name in DNS of a component's Service: (dict "root" $ "name" "cache") */}}
{{- define "llmrouter.host" -}}
{{- printf "%s-%s.%s.svc.%s" (include "llmrouter.fullname" .root) .name .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end -}}

{{/* What one replica of every pool is reached at, a list as JSON. */}}
{{- define "llmrouter.inferenceAddresses" -}}
{{- $addresses := list -}}
{{- range $component, $it := fromJson (include "llmrouter.components" .) -}}
{{- if eq $it.service "inference" -}}
{{- $name := printf "%s-%s" (include "llmrouter.fullname" $) $component -}}
{{- range $index := until (int $it.values.replicas) -}}
{{- $addresses = append $addresses (printf "%s-%d.%s:50054" $name $index (include "llmrouter.host" (dict "root" $ "name" $component))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $addresses -}}
{{- end -}}

{{/* The configuration of one component: what is set, and what the chart decides above it. */}}
{{- define "llmrouter.config" -}}
{{- $decided := dict "host" "0.0.0.0" "port" (int (include "llmrouter.port" .service)) "health_port" 50060 "drain_grace_seconds" (int .values.drainSeconds) -}}
{{- $tls := dict "certificate_file" "/etc/llmrouter-tls/tls.crt" "key_file" "/etc/llmrouter-tls/tls.key" -}}
{{- $ca := "/etc/llmrouter-tls/ca.crt" -}}
{{- if ne .root.Values.tls.mode "none" -}}
{{- $asks := or (ne .service "gateway") .root.Values.tls.gatewayClients -}}
{{- $_ := set $decided "tls" (ternary (set (deepCopy $tls) "client_ca_file" $ca) $tls $asks) -}}
{{- if or (eq .service "gateway") (eq .service "selector") -}}
{{- $_ := set $decided "dial_tls" (set (deepCopy $tls) "ca_file" $ca) -}}
{{- end -}}
{{- end -}}
{{- if eq .service "gateway" -}}
{{- $_ := set $decided "http_port" (ternary 8080 nil .values.http) -}}
{{- $_ := set $decided "selector_address" (printf "%s:50052" (include "llmrouter.host" (dict "root" .root "name" "selector"))) -}}
{{- $_ := set $decided "cache_address" (printf "%s:50053" (include "llmrouter.host" (dict "root" .root "name" "cache"))) -}}
{{- else if eq .service "selector" -}}
{{- $_ := set $decided "inference_addresses" (fromJsonArray (include "llmrouter.inferenceAddresses" .root)) -}}
{{- $_ := set $decided "state_path" "/var/lib/llmrouter/selector.sqlite" -}}
{{- else if eq .service "cache" -}}
{{- if .values.persistence.enabled -}}
{{- $_ := set $decided "disk_path" "/var/lib/llmrouter/answers" -}}
{{- else -}}
{{- $_ := set $decided "disk_max_bytes" 0 -}}
{{- end -}}
{{- else -}}
{{- $_ := set $decided "store" "/var/lib/llmrouter/models" -}}
{{- end -}}
{{- range $name, $value := .values.settings -}}
{{- if hasKey $decided $name -}}
{{- fail (printf "%s: settings.%s is decided by the chart; take it out (drain_grace_seconds is drainSeconds)" $.component $name) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict .service (merge $decided .values.settings)) -}}
{{- end -}}
