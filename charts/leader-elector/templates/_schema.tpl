{{/* values.schema.json, which templates can't read. `go -C e2e test ./chart -update` copies it. */}}
{{- define "leader-elector._schema" -}}
{
  "$schema": "http://json-schema.org/draft-07/schema#",
  "title": "Values of leader-elector",
  "type": "object",
  "additionalProperties": false,
  "required": ["enabled", "name", "image", "port", "statusDir", "leaseDuration", "container", "serviceAccount", "rbac", "leaderService"],
  "definitions": {
    "name": { "type": "string", "pattern": "^[a-z][a-z0-9]*(-[a-z0-9]+)*$", "maxLength": 40 },
    "duration": { "type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$" },
    "optionalDuration": { "type": ["string", "integer"], "minimum": 0, "maximum": 0, "pattern": "^(0|([0-9]+(\\.[0-9]+)?(ms|s|m|h))*)$" },
    "labelKey": {
      "allOf": [
        { "type": "string", "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$" },
        { "type": "string", "pattern": "^([^/]{1,253}/)?[^/]{1,63}$" }
      ]
    },
    "strings": { "type": "object", "additionalProperties": { "type": "string" } }
  },
  "properties": {
    "global": { "type": "object" },
    "enabled": { "type": "boolean" },
    "name": { "$ref": "#/definitions/name" },
    "ownPod": { "type": "boolean" },
    "commonLabels": { "$ref": "#/definitions/strings" },
    "commonAnnotations": { "$ref": "#/definitions/strings" },
    "leaseName": { "type": "string" },
    "image": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "registry": { "type": "string" },
        "repository": { "type": "string", "minLength": 1 },
        "tag": { "type": "string" },
        "digest": { "type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$" },
        "pullPolicy": { "enum": ["Always", "IfNotPresent", "Never"] }
      }
    },
    "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
    "labelPodRole": { "type": "boolean" },
    "roleLabel": { "$ref": "#/definitions/labelKey" },
    "podDeletionCost": { "type": ["integer", "null"], "minimum": -2147483648, "maximum": 2147483647 },
    "leaderEvents": { "type": "boolean" },
    "statusDir": { "type": "string", "pattern": "^(/[-._~@A-Za-z0-9]+)+/?$" },
    "leadWhile": { "type": "string", "pattern": "^(lock|http://[^/\\s]\\S*)?$" },
    "claimDelay": { "$ref": "#/definitions/optionalDuration" },
    "leaseDuration": { "$ref": "#/definitions/duration" },
    "renewDeadline": { "$ref": "#/definitions/optionalDuration" },
    "retryPeriod": { "$ref": "#/definitions/optionalDuration" },
    "renewInterval": { "$ref": "#/definitions/optionalDuration" },
    "releaseDelay": { "type": "string", "pattern": "^(0|never|([0-9]+(\\.[0-9]+)?(ms|s|m|h))*)$" },
    "stopGrace": { "$ref": "#/definitions/optionalDuration" },
    "logFormat": { "enum": ["text", "json"] },
    "logLevel": { "enum": ["debug", "info", "warn", "error"] },
    "extraEnv": { "type": "array", "items": { "type": "object", "required": ["name"] } },
    "extraVolumeMounts": { "type": "array", "items": { "type": "object", "required": ["name", "mountPath"] } },
    "resources": { "type": "object" },
    "startupProbe": { "type": ["object", "null"] },
    "livenessProbe": { "type": ["object", "null"] },
    "readinessProbe": { "type": "object", "properties": { "enabled": { "type": "boolean" } } },
    "container": { "type": "object" },
    "serviceAccount": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "create": { "type": "boolean" },
        "name": { "type": "string" },
        "automount": { "type": "boolean" },
        "labels": { "$ref": "#/definitions/strings" },
        "annotations": { "$ref": "#/definitions/strings" }
      }
    },
    "rbac": {
      "type": "object",
      "additionalProperties": false,
      "properties": { "create": { "type": "boolean" } }
    },
    "leaderService": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "create": { "type": "boolean" },
        "name": { "type": "string" },
        "type": { "enum": ["ClusterIP", "NodePort", "LoadBalancer"] },
        "ports": { "type": "array", "minItems": 1, "items": { "type": "object", "required": ["port"] } },
        "selector": { "$ref": "#/definitions/strings" },
        "spec": { "type": "object" },
        "annotations": { "$ref": "#/definitions/strings" }
      }
    },
    "podMonitor": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "create": { "type": "boolean" },
        "interval": { "$ref": "#/definitions/duration" },
        "labels": { "$ref": "#/definitions/strings" }
      }
    },
    "prometheusRule": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "create": { "type": "boolean" },
        "labels": { "$ref": "#/definitions/strings" }
      }
    }
  }
}
{{- end -}}
