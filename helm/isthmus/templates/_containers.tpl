{{- define "isthmus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/*
The service. dict: root, exposed ("true" where it listens beyond the pod), outlives ("true" where it has to wait
for the bridge of its pod), state ("true" where the volume is mounted)
*/}}
{{- define "isthmus.serviceContainer" -}}
{{- $values := .root.Values -}}
- name: service
  image: {{ include "isthmus.image" .root | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  args: [serve]
  env:
    {{- include "isthmus.env" (include "isthmus.serviceSettings" . | fromYaml) | trim | nindent 4 }}
    {{- with include "isthmus.serviceSecrets" .root }}
    {{- trim . | nindent 4 }}
    {{- end }}
    {{- with $values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: http, containerPort: {{ $values.service.port }}}
  {{- $probed := dict "port" $values.service.port "exposed" .exposed "scheme" (include "isthmus.scheme" .root) }}
  startupProbe:
    {{- include "isthmus.httpProbe" (merge (dict "path" "/healthz") $probed) | nindent 4 }}
    periodSeconds: 5
    timeoutSeconds: 5
    failureThreshold: {{ div (add (int $values.service.startupSeconds) 4) 5 }}
  livenessProbe:
    {{- include "isthmus.httpProbe" (merge (dict "path" "/healthz") $probed) | nindent 4 }}
    periodSeconds: 15
    timeoutSeconds: 10
    failureThreshold: 4
  readinessProbe:
    {{- include "isthmus.httpProbe" (merge (dict "path" "/readyz") $probed) | nindent 4 }}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 2
  lifecycle:
    preStop:
      {{- if eq .outlives "true" }}
      {{- /* The bridge holds this lock until it has ended. */}}
      exec:
        command: [flock, --shared, --timeout, {{ add (int $values.bridge.drainSeconds) 5 | quote }}, --conflict-exit-code, "0", /data/bridge/lock, "true"]
      {{- else }}
      sleep: {seconds: {{ $values.service.endpointsSeconds }}}
      {{- end }}
  resources:
    {{- toYaml $values.service.resources | nindent 4 }}
  securityContext:
    {{- include "isthmus.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: temporary, mountPath: /tmp}
    {{- if eq .state "true" }}
    - {name: data, mountPath: /data}
    {{- end }}
    {{- if $values.storage.s3.ca.configMap }}
    - {name: s3-ca, mountPath: /etc/isthmus/s3, readOnly: true}
    {{- end }}
    {{- if $values.index.ca.configMap }}
    - {name: database-ca, mountPath: /etc/isthmus/database, readOnly: true}
    {{- end }}
    {{- if $values.service.tls.secret }}
    - {name: tls, mountPath: /etc/isthmus/tls, readOnly: true}
    {{- end }}
    {{- with include "isthmus.accessMounts" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Where the files of sign-in are. dict: root, exposed */}}
{{- define "isthmus.accessMounts" -}}
{{- $auth := .root.Values.auth -}}
{{- if eq (include "isthmus.signIn" .) "true" }}
{{- if $auth.passwordsSecret.name }}
- {name: passwords, mountPath: /etc/isthmus/passwords, readOnly: true}
{{- end }}
{{- if $auth.shareKeySecret.name }}
- {name: share-key, mountPath: /etc/isthmus/share-key, readOnly: true}
{{- end }}
{{- if $auth.oidc.ca.configMap }}
- {name: oidc-ca, mountPath: /etc/isthmus/oidc, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{/* A probe of the service: from outside, or where it listens on the loopback only, from inside. */}}
{{- define "isthmus.httpProbe" -}}
{{- if eq .exposed "true" -}}
httpGet: {path: {{ .path }}, port: http{{ if eq .scheme "https" }}, scheme: HTTPS{{ end }}}
{{- else -}}
exec:
  command: [isthmus, health, "{{ .scheme }}://127.0.0.1:{{ .port }}{{ .path }}"]
{{- end -}}
{{- end -}}

{{/* The bridge. dict: root, entity */}}
{{- define "isthmus.bridgeContainer" -}}
{{- $values := .root.Values -}}
- name: bridge
  image: {{ include "isthmus.image" .root | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  args: [bridge]
  env:
    {{- include "isthmus.env" (include "isthmus.bridgeSettings" . | fromYaml) | trim | nindent 4 }}
    {{- with $values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- if ne (include "isthmus.dimseOverTlsOnly" .root) "true" }}
    - {name: dimse, containerPort: {{ $values.bridge.port }}}
    {{- end }}
    {{- if $values.bridge.tls.secret }}
    - {name: dimse-tls, containerPort: {{ $values.bridge.tls.port }}}
    {{- end }}
    {{- if $values.bridge.http.exposed }}
    - {name: bridge-http, containerPort: {{ $values.bridge.http.port }}}
    {{- end }}
  {{- $probed := ternary "dimse-tls" "dimse" (eq (include "isthmus.dimseOverTlsOnly" .root) "true") }}
  startupProbe:
    tcpSocket: {port: {{ $probed }}}
    periodSeconds: 2
    failureThreshold: 60
  livenessProbe:
    tcpSocket: {port: {{ $probed }}}
    periodSeconds: 20
    timeoutSeconds: 5
    failureThreshold: 3
  readinessProbe:
    tcpSocket: {port: {{ $probed }}}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 2
  resources:
    {{- toYaml $values.bridge.resources | nindent 4 }}
  securityContext:
    {{- include "isthmus.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: temporary, mountPath: /tmp}
    - {name: data, mountPath: /data}
    - {name: peers, mountPath: /etc/isthmus/peers, readOnly: true}
    {{- if $values.bridge.archive.tokenSecret.name }}
    - {name: archive-token, mountPath: /etc/isthmus/archive-token, readOnly: true}
    {{- end }}
    {{- if $values.bridge.archive.ca.configMap }}
    - {name: archive-ca, mountPath: /etc/isthmus/archive, readOnly: true}
    {{- end }}
    {{- if $values.service.tls.secret }}
    - {name: tls, mountPath: /etc/isthmus/tls, readOnly: true}
    {{- end }}
    {{- if $values.bridge.tls.secret }}
    - {name: dimse-tls, mountPath: /etc/isthmus/dimse-tls, readOnly: true}
    {{- end }}
    {{- if $values.bridge.tls.ca.configMap }}
    - {name: dimse-ca, mountPath: /etc/isthmus/dimse-ca, readOnly: true}
    {{- end }}
    {{- with include "isthmus.accessMounts" (dict "root" .root "exposed" (ternary "true" "false" $values.bridge.http.exposed)) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The authenticating proxy before a service on the loopback. */}}
{{- define "isthmus.proxyContainer" -}}
{{- with .Values.auth.proxy -}}
- name: proxy
  image: {{ .image | quote }}
  {{- with .args }}
  args:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .secret }}
  envFrom:
    - secretRef: {name: {{ .secret | quote }}}
  {{- end }}
  ports:
    - {name: proxy, containerPort: {{ .port }}}
  livenessProbe:
    httpGet: {path: {{ .healthPath | quote }}, port: proxy}
    periodSeconds: 15
    timeoutSeconds: 5
  readinessProbe:
    httpGet: {path: {{ .healthPath | quote }}, port: proxy}
    periodSeconds: 10
    timeoutSeconds: 5
  lifecycle:
    preStop:
      sleep: {seconds: {{ $.Values.service.endpointsSeconds }}}
  resources:
    {{- toYaml .resources | nindent 4 }}
  securityContext:
    {{- include "isthmus.containerSecurity" $ | nindent 4 }}
{{- end -}}
{{- end -}}
