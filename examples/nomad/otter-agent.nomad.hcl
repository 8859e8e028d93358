# The OTTER agent on every client of a Nomad cluster whose metadata says so (client { meta { otter = "yes" } }):
#
#   nomad job plan otter-agent.nomad.hcl
#   nomad job run otter-agent.nomad.hcl
#
# The clients' docker plugin has to allow it (allow_privileged = true, volumes { enabled = true }), and their
# engine has to show the machine's control groups ("default-cgroupns-mode": "host" in daemon.json).
# Nomad places the agents, OTTER places the meshes: docs/scaling.md.
job "otter-agent" {
  type        = "system"
  datacenters = ["*"]

  constraint {
    attribute = "${meta.otter}"
    value     = "yes"
  }

  update {
    max_parallel = 1
    stagger      = "30s"
  }

  group "agent" {
    restart {
      attempts = 5
      interval = "5m"
      delay    = "5s"
      mode     = "delay"
    }

    task "agent" {
      driver       = "docker"
      kill_timeout = "20s"

      config {
        image        = "registry.example.org/otter-agent:0.1.0"
        args         = ["--name", "${node.unique.name}"]
        privileged   = true
        network_mode = "host"
        pid_mode     = "host"
        uts_mode     = "host"
        volumes      = ["/var/lib/otter:/var/lib/otter", "/sys/fs/cgroup:/sys/fs/cgroup", "/var/run/docker.sock:/var/run/docker.sock"]

        mount {
          type   = "bind"
          source = "/run/otter"
          target = "/run/otter"

          bind_options {
            propagation = "rshared"
          }
        }

        mount {
          type   = "bind"
          source = "/run/netns"
          target = "/run/netns"

          bind_options {
            propagation = "rshared"
          }
        }
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
