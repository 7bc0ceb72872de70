"""A year of days: the schedule, retention and telling go on day after day, while things go wrong now and then.

`policy`    which sets and on-demand backups should be there, said once more and naively
`plan`      what a seed decides of a year: the settings, and how often what goes wrong
`observer`  what is seen of the sets while the year goes on, and what may never happen
`mishaps`   what goes wrong
`story`     the year itself
`verdict`   what must be true whenever all has come to rest
`telling`   what must be true of what people were told
"""
