"""Retention: what stays and what goes, with a reason for each. Pure: plain data in, a plan out.

`sets`       the decision about backup sets in the bucket
`rules`      the rules it follows: each says of some sets why they stay
`found`      what is known of the sets, and the policy
`chains`     which sets need which others, and in which order sets can go
`moments`    when a set was taken, as far as its name says
`on_demand`  the decision about the native on-demand backups of one table
`plan`       what both decide: a decision for each, and what to remove, in order

Rules only keep: what one of them keeps no other can take away, and what none of them keeps goes.
"""
