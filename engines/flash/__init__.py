"""Bundles onto devices: crash-safe installing on the device, pushing over ssh, provisioning.

On the device: `home` (what lies where), `disk` (durable steps), `journal`, `incoming` (receive),
`releases` (stage), `gate`, `install` (the order of the steps), `recover` (after a power cut).
On the workstation: `remote` (ssh), `push` (one device), `fleet` (many), `provision`, `wheelhouse`.
"""
